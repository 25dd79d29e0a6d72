// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc

/// The epoll side of one event loop. All but `wakeDescriptor` belongs to the loop's thread.
///
/// A task's wait is armed for one event (`EPOLLONESHOT`); a watch is level-triggered and stays.
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
        let descriptor: Int32
        let handler: @Sendable (DescriptorEvents) -> Void
    }

    private enum WaitPhase {
        case reserved
        case cancelledEarly
        case armed(descriptor: Int32)
    }

    /// epoll's data word: a descriptor for waits, an identifier with this bit for watches.
    private static let watchBit: UInt64 = 1 << 63
    private static let wakeWord = UInt64.max
    private static let capacity = 128

    /// Writing eight bytes here wakes the waiting thread.
    let wakeDescriptor: Int32
    private let epoll: Int32
    private let buffer: UnsafeMutablePointer<epoll_event>
    private var pending = 0
    private var nextIdentifier: UInt64 = 0
    private var phases: [UInt64: WaitPhase] = [:]
    private var waiters: [Int32: [Waiter]] = [:]
    private var watches: [UInt64: WatchEntry] = [:]

    init() throws(SystemError) {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw SystemError("epoll_create1") }
        wakeDescriptor = cmuster_event_descriptor()
        guard wakeDescriptor >= 0 else {
            let error = SystemError("eventfd")
            close(epoll)
            throw error
        }
        buffer = .allocate(capacity: Self.capacity)
        buffer.initialize(repeating: epoll_event(), count: Self.capacity)
        _ = cmuster_epoll_control(epoll, EPOLL_CTL_ADD, wakeDescriptor, EPOLLIN.rawValue, Self.wakeWord)
    }

    deinit {
        buffer.deallocate()
        close(wakeDescriptor)
        close(epoll)
    }

    /// Whether no descriptor is awaited or watched.
    var isUnused: Bool { waiters.isEmpty && watches.isEmpty }

    // MARK: Waiting

    /// Sleeps until an event, a wake-up or a deadline; what came is kept for ``deliver()``.
    func wait(until deadline: Int64?) {
        let timeout: Int64
        if let deadline {
            timeout = max(0, deadline &- cmuster_monotonic_ns())
        } else {
            timeout = -1
        }
        pending = max(0, Int(cmuster_epoll_wait_ns(epoll, buffer, Int32(Self.capacity), timeout)))
    }

    /// Looks for events without sleeping.
    func check() {
        guard pending == 0, !(waiters.isEmpty && watches.isEmpty) else { return }
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
            } else if word & Self.watchBit != 0 {
                watches[word]?.handler(events)
            } else {
                resume(Int32(truncatingIfNeeded: word), events: events)
            }
        }
    }

    private func resume(_ descriptor: Int32, events: DescriptorEvents) {
        guard let all = waiters.removeValue(forKey: descriptor) else { return }
        var remaining: [Waiter] = []
        for waiter in all {
            if events.isDisjoint(with: waiter.events.union(.trouble)) {
                remaining.append(waiter)
            } else {
                phases[waiter.identifier] = nil
                waiter.continuation.resume(returning: .ready)
            }
        }
        guard !remaining.isEmpty else { return }
        waiters[descriptor] = remaining
        rearm(descriptor)
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
        waiters[descriptor, default: []].append(
            Waiter(identifier: identifier, events: events, continuation: continuation))
        guard let error = rearm(descriptor) else { return }
        remove(identifier, descriptor: descriptor)
        // A regular file is always ready, says POSIX, and epoll refuses it.
        continuation.resume(returning: error.code == EPERM ? .ready : .failed(error))
    }

    /// Ends a wait early.
    func cancel(_ identifier: UInt64) {
        switch phases[identifier] {
        case nil, .cancelledEarly:
            break
        case .reserved:
            phases[identifier] = .cancelledEarly
        case .armed(let descriptor):
            let waiter = remove(identifier, descriptor: descriptor)
            if waiters[descriptor] == nil {
                _ = cmuster_epoll_control(epoll, EPOLL_CTL_DEL, descriptor, 0, 0)
            } else {
                rearm(descriptor)
            }
            waiter?.continuation.resume(returning: .cancelled)
        }
    }

    @discardableResult
    private func remove(_ identifier: UInt64, descriptor: Int32) -> Waiter? {
        phases[identifier] = nil
        guard let index = waiters[descriptor]?.firstIndex(where: { $0.identifier == identifier }) else { return nil }
        let waiter = waiters[descriptor]?.remove(at: index)
        if waiters[descriptor]?.isEmpty == true { waiters[descriptor] = nil }
        return waiter
    }

    /// Sets a descriptor's interest to the union of what its waiters want.
    ///
    /// The kernel forgets a descriptor when it is closed, so which of the two operations is due is asked of it.
    @discardableResult
    private func rearm(_ descriptor: Int32) -> SystemError? {
        var mask = EPOLLONESHOT.rawValue
        for waiter in waiters[descriptor] ?? [] { mask |= waiter.events.rawValue }
        let word = UInt64(UInt32(bitPattern: descriptor))
        var code = cmuster_epoll_control(epoll, EPOLL_CTL_MOD, descriptor, mask, word)
        if code == ENOENT { code = cmuster_epoll_control(epoll, EPOLL_CTL_ADD, descriptor, mask, word) }
        return code == 0 ? nil : SystemError("epoll_ctl", code: code)
    }

    // MARK: Watches

    /// Begins a watch.
    func watch(
        _ descriptor: Int32, events: DescriptorEvents, handler: @escaping @Sendable (DescriptorEvents) -> Void
    ) throws(SystemError) -> UInt64 {
        nextIdentifier &+= 1
        let identifier = nextIdentifier | Self.watchBit
        let code = cmuster_epoll_control(epoll, EPOLL_CTL_ADD, descriptor, events.rawValue, identifier)
        guard code == 0 else { throw SystemError("epoll_ctl", code: code) }
        watches[identifier] = WatchEntry(descriptor: descriptor, handler: handler)
        return identifier
    }

    /// Ends a watch.
    func unwatch(_ identifier: UInt64) {
        guard let entry = watches.removeValue(forKey: identifier) else { return }
        _ = cmuster_epoll_control(epoll, EPOLL_CTL_DEL, entry.descriptor, 0, 0)
    }
}
