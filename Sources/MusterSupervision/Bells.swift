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
/// Where the kernel or a seccomp filter has no futex_waitv(2), and for what is beyond the number that it takes, no bell is
/// heard.
final class Bells: Sendable {
    private let listener: Listener

    /// - Parameter ring: Called on the thread that listens, with the incarnation of the process.
    init(ring: @escaping @Sendable (Int) -> Void) {
        listener = Listener(ring: ring)
    }

    deinit {
        listener.end()
    }

    /// Listens for the end of a process that holds its bell.
    func listen(for incarnation: Int, of vitalSigns: VitalSignsReader) {
        listener.add(Listener.Bell(incarnation: incarnation, vitalSigns: vitalSigns))
    }

    /// A process has ended.
    func forget(_ incarnation: Int) {
        listener.remove(incarnation)
    }
}

/// What the thread has; it goes on until ``Bells`` is gone.
///
/// Sound as `@unchecked Sendable`: the pointer never changes and leads to an atomic, which lives as long as this.
private final class Listener: @unchecked Sendable {
    struct Bell: Sendable {
        let incarnation: Int
        /// Keeps the memory mapped.
        let vitalSigns: VitalSignsReader
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
    }

    /// The most that the system call takes, one of them our own.
    private static let most = 128 - 1

    private let ring: @Sendable (Int) -> Void
    private let state = Locked(State())
    /// Counts the changes of ``State``.
    private let changes: UnsafeMutablePointer<Atomic<UInt32>>

    init(ring: @escaping @Sendable (Int) -> Void) {
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

    func end() {
        state.withLock { state in
            state.phase = .over
            state.bells = []
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
            for bell in bells where cmuster_bell_listen(bell.vitalSigns.bell) != bell.value {
                remove(bell.incarnation)
                if cmuster_bell_has_rung(bell.vitalSigns.bell) { ring(bell.incarnation) }
            }
        }
    }
}
