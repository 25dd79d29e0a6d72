// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterLock
import MusterPlatform
import Synchronization

/// Hears of the ends of workers as they begin, which is up to milliseconds before the kernel tells of them by a pidfd: it
/// frees their memory first.
///
/// A thread waits for the words of all bells at once, and for one of its own by which it is told of others; event loops
/// cannot wait for such words. Each bell is heard once at most, however often its worker writes to that memory: what is not
/// the kernel's mark ends the listening. How the process ends is not known yet, and a broken worker may ring without ending.
///
/// The thread tells the next warm spare of the group itself, so that this one wakes as soon as the supervisor: the
/// supervisor offers spares for it between its events (``offer(_:)``) and takes the offer back before it handles another
/// one, together with what has been claimed of it (``withdraw()``).
///
/// Where the kernel or a seccomp filter has no futex_waitv(2), and for what is beyond the number that it takes, no bell is
/// heard.
final class Bells: Sendable {
    private let listener: Listener

    /// - Parameter ring: Called on the thread that listens, with the incarnation of the process and whether a spare has been
    ///   told to take over its slot.
    init(ring: @escaping @Sendable (Int, _ isClaimed: Bool) -> Void) {
        listener = Listener(ring: ring)
    }

    deinit {
        listener.end()
    }

    /// Listens for the end of a process that holds its bell.
    ///
    /// - Parameter slot: What a spare may take over at once.
    func listen(for incarnation: Int, of vitalSigns: VitalSignsReader, claimable slot: WorkerID? = nil) {
        listener.add(Listener.Bell(incarnation: incarnation, vitalSigns: vitalSigns, slot: slot))
    }

    /// Goes on listening for the end of a process whose slot no spare may take over any longer.
    func withhold(_ incarnation: Int) {
        listener.withhold(incarnation)
    }

    /// Lets each of these spares take over the first slot of its group whose bell rings.
    func offer(_ heirs: [Int: Heir]) {
        listener.offer(heirs)
    }

    /// Takes the spares back.
    ///
    /// - Returns: Whose slots have been claimed, by which spares, in their order.
    func withdraw() -> [(incarnation: Int, heir: Int)] {
        listener.withdraw()
    }

    /// A process has ended.
    func forget(_ incarnation: Int) {
        listener.remove(incarnation)
    }
}

/// A parked spare that may be told to take over a slot.
struct Heir: Sendable {
    let incarnation: Int
    let channel: ControlChannel
}

/// What the thread has; it goes on until ``Bells`` is gone.
///
/// Sound as `@unchecked Sendable`: the pointer never changes and leads to an atomic, which lives as long as this.
private final class Listener: @unchecked Sendable {
    struct Bell: Sendable {
        let incarnation: Int
        /// Keeps the memory mapped.
        let vitalSigns: VitalSignsReader
        var slot: WorkerID?
        /// What its word says while the process lives.
        var value: UInt32 = 0
    }

    private enum Phase {
        case idle
        case listening
        case over
    }

    private struct State {
        var phase = Phase.idle
        var bells: [Bell] = []
        /// By their groups.
        var heirs: [Int: Heir] = [:]
        var claims: [(incarnation: Int, heir: Int)] = []
    }

    /// The most that the system call takes, one of them our own.
    private static let most = 128 - 1

    private let ring: @Sendable (Int, Bool) -> Void
    private let state = Locked(State())
    /// Counts the changes of ``State``.
    private let changes: UnsafeMutablePointer<Atomic<UInt32>>

    init(ring: @escaping @Sendable (Int, Bool) -> Void) {
        self.ring = ring
        changes = .allocate(capacity: 1)
        changes.initialize(to: Atomic(0))
    }

    deinit {
        changes.deallocate()
    }

    func add(_ bell: Bell) {
        var bell = bell
        bell.value = cmuster_bell_listen(bell.vitalSigns.bell)
        guard bell.value != 0 else { return }
        let isFirst = state.withLock { state in
            guard state.phase != .over, state.bells.count < Self.most else { return false }
            state.bells.append(bell)
            defer { state.phase = .listening }
            return state.phase == .idle
        }
        guard isFirst else { return tell() }
        do {
            try NativeThread.start(name: "muster-bells", stackSize: 64 << 10) { [self] in listen() }
        } catch {
            end()
        }
    }

    func remove(_ incarnation: Int) {
        // Let go of outside the lock.
        let removed = state.withLock { state in
            state.bells.firstIndex { $0.incarnation == incarnation }.map { state.bells.remove(at: $0) }
        }
        if removed != nil { tell() }
    }

    func withhold(_ incarnation: Int) {
        state.withLock { state in
            if let index = state.bells.firstIndex(where: { $0.incarnation == incarnation }) {
                state.bells[index].slot = nil
            }
        }
    }

    func offer(_ heirs: [Int: Heir]) {
        state.withLock { $0.heirs = heirs }
    }

    func withdraw() -> [(incarnation: Int, heir: Int)] {
        state.withLock { state in
            state.heirs = [:]
            defer { state.claims = [] }
            return state.claims
        }
    }

    /// Stops listening for a bell that has changed, and tells a spare if it has rung.
    private func hear(_ bell: Bell) {
        let hasRung = cmuster_bell_has_rung(bell.vitalSigns.bell)
        let isClaimed: Bool? = state.withLock { state in
            // It may have been forgotten meanwhile, and no longer be claimable.
            guard let index = state.bells.firstIndex(where: { $0.incarnation == bell.incarnation }) else { return nil }
            let slot = state.bells.remove(at: index).slot
            guard hasRung, let slot, let heir = state.heirs.removeValue(forKey: slot.group),
                // Under the lock, so that nothing else is said to the spare before.
                heir.channel.send(.takeOver(slot: slot.slot))
            else { return false }
            state.claims.append((bell.incarnation, heir.incarnation))
            return true
        }
        if hasRung, let isClaimed { ring(bell.incarnation, isClaimed) }
    }

    func end() {
        state.withLock { state in
            state.phase = .over
            state.bells = []
            state.heirs = [:]
        }
        tell()
    }

    private func tell() {
        changes.pointee.wrappingAdd(1, ordering: .sequentiallyConsistent)
        cmuster_futex_wake(changes)
    }

    private func listen() {
        // A process that ends would keep it waiting while it is taken apart, if both were on one processor.
        cmuster_ask_for_slices(UInt64(CMUSTER_SHORT_SLICE))
        while true {
            // Before the bells are read: a change in between then ends the waiting.
            let seen = changes.pointee.load(ordering: .sequentiallyConsistent)
            guard let bells = state.withLock({ $0.phase == .listening ? $0.bells : nil }) else { return }
            let futexes =
                [cmuster_futex_of(changes, seen, false)]
                + bells.map { cmuster_futex_of($0.vitalSigns.bell, $0.value, true) }
            switch cmuster_futex_wait_any(futexes, Int32(futexes.count)) {
            case 0, EAGAIN, EINTR: break
            default: return end()
            }
            for bell in bells where cmuster_bell_listen(bell.vitalSigns.bell) != bell.value { hear(bell) }
        }
    }
}
