// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterLock

/// The epoll side of one event loop. All but `wakeDescriptor` belongs to the loop's thread.
///
/// epoll knows one registration per descriptor, so whatever tasks and watches want of a descriptor is merged into
/// one: for a single event (`EPOLLONESHOT`) while only tasks wait, level-triggered as long as a watch is there.
///
/// Sound as `@unchecked Sendable`: only the thread that runs the owning loop touches it.
final class DescriptorPoller: @unchecked Sendable {
    /// How a wait ended.
    enum Outcome: Sendable {
        case ready
        case cancelled
        case failed(SystemError)
    }

    private struct Waiter {
        let identifier: UInt64
        let events: DescriptorEvents
        let continuation: UnsafeContinuation<Outcome, Never>
    }

    private struct WatchEntry {
        let identifier: UInt64
        let events: DescriptorEvents
        let handler: @Sendable (DescriptorEvents) -> Void
    }

    /// What one descriptor is wanted for. It is kept once made, so that later waits allocate nothing.
    private final class Interest {
        /// Changes whenever somebody takes an interest again, so that an event found for those before is known as
        /// theirs although the descriptor's number is the same.
        var generation: UInt32 = 0
        var waiters: [Waiter] = []
        var watches: [WatchEntry] = []

        var isEmpty: Bool { waiters.isEmpty && watches.isEmpty }
    }

    private enum WaitPhase {
        case reserved
        case cancelledEarly
        case armed(descriptor: Int32)
    }

    /// epoll's data word is a descriptor and its interest's generation, or this, which no descriptor gives.
    private static let wakeWord = UInt64.max
    private static let capacity = 128

    /// Writing eight bytes here wakes the waiting thread.
    let wakeDescriptor: Int32
    private let epoll: Int32
    private let buffer: UnsafeMutablePointer<epoll_event>
    private var pending = 0
    private var nextIdentifier: UInt64 = 0
    private var phases: [UInt64: WaitPhase] = [:]
    private var interests: [Int32: Interest] = [:]
    /// The descriptors that tasks have ever waited for, for any thread.
    let known = KnownDescriptors()
    private var waiterCount = 0
    private var watchedDescriptors: [UInt64: Int32] = [:]

    init() throws(SystemError) {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw SystemError("epoll_create1") }
        wakeDescriptor = cmuster_event_descriptor()
        guard wakeDescriptor >= 0 else {
            let error = SystemError("eventfd")
            close(epoll)
            throw error
        }
        let code = cmuster_epoll_control(epoll, EPOLL_CTL_ADD, wakeDescriptor, EPOLLIN.rawValue, Self.wakeWord)
        guard code == 0 else {
            close(wakeDescriptor)
            close(epoll)
            throw SystemError("epoll_ctl", code: code)
        }
        buffer = .allocate(capacity: Self.capacity)
        buffer.initialize(repeating: epoll_event(), count: Self.capacity)
    }

    deinit {
        buffer.deallocate()
        close(wakeDescriptor)
        close(epoll)
    }

    /// Whether no descriptor is awaited or watched.
    var isUnused: Bool { waiterCount == 0 && watchedDescriptors.isEmpty }

    // MARK: Waiting

    /// Sleeps until an event, a wake-up or a deadline; what came is kept for ``deliver()``.
    func wait(until deadline: Int64?) {
        var timeout: Int64 = -1
        if let deadline {
            let now = cmuster_monotonic_ns()
            timeout = deadline > now ? deadline - now : 0
        }
        pending = max(0, Int(cmuster_epoll_wait_ns(epoll, buffer, Int32(Self.capacity), timeout)))
    }

    /// Looks for events without sleeping.
    func check() {
        guard pending == 0, !isUnused else { return }
        pending = max(0, Int(cmuster_epoll_wait_ns(epoll, buffer, Int32(Self.capacity), 0)))
    }

    /// Hands on what the last wait or check found.
    func deliver() {
        let count = pending
        pending = 0
        for index in 0..<count {
            let word = buffer[index].data.u64
            let events = DescriptorEvents(rawValue: buffer[index].events)
            if word == Self.wakeWord {
                var ignored: UInt64 = 0
                _ = read(wakeDescriptor, &ignored, 8)
                continue
            }
            let descriptor = Int32(truncatingIfNeeded: word)
            guard let interest = interests[descriptor], interest.generation == UInt32(word >> 32) else { continue }
            hand(events, of: descriptor, to: interest)
        }
    }

    private func hand(_ events: DescriptorEvents, of descriptor: Int32, to interest: Interest) {
        // A handler may end watches, its own too, and begin others: what is gone by its turn is passed over.
        for watch in interest.watches where watchedDescriptors[watch.identifier] != nil {
            let news = events.intersection(watch.events.union(.trouble))
            if !news.isEmpty { watch.handler(news) }
        }
        let before = interest.waiters.count
        interest.waiters.removeAll { waiter in
            guard !events.isDisjoint(with: waiter.events.union(.trouble)) else { return false }
            phases[waiter.identifier] = nil
            waiterCount -= 1
            waiter.continuation.resume(returning: .ready)
            return true
        }
        // What is left when only tasks waited was disarmed by the event; with a watch the waiters' share is over.
        guard before > 0, !interest.isEmpty else { return }
        if let error = rearm(descriptor, interest) { failWaiters(of: descriptor, interest, error) }
    }

    // MARK: Tasks' waits

    /// Takes an identifier for a wait that is about to begin.
    func reserve() -> UInt64 {
        nextIdentifier &+= 1
        phases[nextIdentifier] = .reserved
        return nextIdentifier
    }

    /// Begins a wait.
    func arm(
        _ identifier: UInt64, descriptor: Int32, events: DescriptorEvents,
        continuation: UnsafeContinuation<Outcome, Never>
    ) {
        if case .cancelledEarly = phases[identifier] {
            phases[identifier] = nil
            return continuation.resume(returning: .cancelled)
        }
        phases[identifier] = .armed(descriptor: descriptor)
        let interest = interest(in: descriptor)
        interest.waiters.append(Waiter(identifier: identifier, events: events, continuation: continuation))
        waiterCount += 1
        if let error = rearm(descriptor, interest) { failWaiters(of: descriptor, interest, error) }
    }

    /// Ends a wait early.
    func cancel(_ identifier: UInt64) {
        switch phases[identifier] {
        case nil, .cancelledEarly:
            break
        case .reserved:
            phases[identifier] = .cancelledEarly
        case .armed(let descriptor):
            phases[identifier] = nil
            guard let interest = interests[descriptor],
                let index = interest.waiters.firstIndex(where: { $0.identifier == identifier })
            else { return }
            let waiter = interest.waiters.remove(at: index)
            waiterCount -= 1
            waiter.continuation.resume(returning: .cancelled)
            withdraw(from: descriptor, interest)
        }
    }

    /// Ends every task's wait for a descriptor that has come to be another file, of which the kernel tells nobody.
    func wakeWaiters(of descriptor: Int32) {
        guard let interest = interests[descriptor] else { return }
        endWaits(of: interest, .ready)
    }

    /// Ends every task's wait for a descriptor that the kernel refuses to watch.
    private func failWaiters(of descriptor: Int32, _ interest: Interest, _ error: SystemError) {
        // A regular file is always ready, says POSIX, and epoll refuses it.
        let outcome = error.code == EPERM ? Outcome.ready : .failed(error)
        endWaits(of: interest, outcome)
        if interest.isEmpty { interests[descriptor] = nil }
    }

    private func endWaits(of interest: Interest, _ outcome: Outcome) {
        for waiter in interest.waiters {
            phases[waiter.identifier] = nil
            waiter.continuation.resume(returning: outcome)
        }
        waiterCount -= interest.waiters.count
        interest.waiters.removeAll(keepingCapacity: true)
    }

    // MARK: Registrations

    private func interest(in descriptor: Int32) -> Interest {
        if let known = interests[descriptor] {
            if known.isEmpty { known.generation &+= 1 }
            return known
        }
        let new = Interest()
        // A generation that no event still in the buffer was found for.
        nextIdentifier &+= 1
        new.generation = UInt32(truncatingIfNeeded: nextIdentifier)
        interests[descriptor] = new
        known.insert(descriptor)
        return new
    }

    /// Makes a descriptor's registration what its waiters and watches want.
    ///
    /// The kernel forgets a descriptor when it is closed, so which of the two operations is due is asked of it.
    private func rearm(_ descriptor: Int32, _ interest: Interest) -> SystemError? {
        var mask = interest.watches.isEmpty ? EPOLLONESHOT.rawValue : 0
        for waiter in interest.waiters { mask |= waiter.events.rawValue }
        for watch in interest.watches { mask |= watch.events.rawValue }
        let word = UInt64(interest.generation) << 32 | UInt64(UInt32(bitPattern: descriptor))
        // An exclusive registration cannot be changed.
        var code = ENOENT
        if mask & EPOLLEXCLUSIVE.rawValue == 0 {
            code = cmuster_epoll_control(epoll, EPOLL_CTL_MOD, descriptor, mask, word)
        }
        if code == ENOENT { code = cmuster_epoll_control(epoll, EPOLL_CTL_ADD, descriptor, mask, word) }
        return code == 0 ? nil : SystemError("epoll_ctl", code: code)
    }

    /// Brings a registration up to date after somebody has lost interest.
    private func withdraw(from descriptor: Int32, _ interest: Interest) {
        if interest.isEmpty {
            _ = cmuster_epoll_control(epoll, EPOLL_CTL_DEL, descriptor, 0, 0)
        } else if let error = rearm(descriptor, interest) {
            failWaiters(of: descriptor, interest, error)
        }
    }

    // MARK: Watches

    /// Begins a watch.
    func watch(
        _ descriptor: Int32, events: DescriptorEvents, handler: @escaping @Sendable (DescriptorEvents) -> Void
    ) throws(SystemError) -> UInt64 {
        let interest = interest(in: descriptor)
        nextIdentifier &+= 1
        let identifier = nextIdentifier
        interest.watches.append(WatchEntry(identifier: identifier, events: events, handler: handler))
        if let error = rearm(descriptor, interest) {
            interest.watches.removeLast()
            if interest.isEmpty { interests[descriptor] = nil }
            throw error
        }
        watchedDescriptors[identifier] = descriptor
        return identifier
    }

    /// Ends a watch.
    func unwatch(_ identifier: UInt64) {
        guard let descriptor = watchedDescriptors.removeValue(forKey: identifier),
            let interest = interests[descriptor]
        else { return }
        interest.watches.removeAll { $0.identifier == identifier }
        withdraw(from: descriptor, interest)
    }
}

/// A set of descriptors that only grows.
final class KnownDescriptors: Sendable {
    private let descriptors = Locked<Set<Int32>>([])

    func insert(_ descriptor: Int32) {
        descriptors.withLock { _ = $0.insert(descriptor) }
    }

    func isDisjoint(with others: [Int32]) -> Bool {
        descriptors.withLock { $0.isDisjoint(with: others) }
    }
}

/// What a file descriptor can be ready for.
public struct DescriptorEvents: OptionSet, Hashable, Sendable {
    /// epoll's bit mask.
    public let rawValue: UInt32

    /// Creates a set from epoll's bit mask.
    ///
    /// - Parameter rawValue: `EPOLLIN`, `EPOLLOUT` and so on.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// There is something to read, or the other side has closed.
    public static let readable = DescriptorEvents(rawValue: EPOLLIN.rawValue | EPOLLRDHUP.rawValue)
    /// There is room to write.
    public static let writable = DescriptorEvents(rawValue: EPOLLOUT.rawValue)

    /// A connection waits at a listening socket that other processes listen at, too: one of those that sleep is woken, the
    /// one that has been watching for longest. Such a watch has its descriptor for itself.
    package static let sharedConnections = DescriptorEvents(rawValue: EPOLLIN.rawValue | EPOLLEXCLUSIVE.rawValue)

    /// Errors and hang-ups, which are reported without being asked for and wake whoever waits.
    static let trouble = DescriptorEvents(rawValue: EPOLLERR.rawValue | EPOLLHUP.rawValue)
}
