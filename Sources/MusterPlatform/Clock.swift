// SPDX-License-Identifier: Apache-2.0

import CMuster
import MusterLock

/// The clock that every wait uses, so that tests control time.
public protocol RuntimeClock: Sendable {
    /// The present instant.
    var now: MonotonicInstant { get }

    /// Suspends the calling task until an instant.
    ///
    /// - Parameters:
    ///   - deadline: When to go on; an instant in the past lets others run first and returns.
    ///   - tolerance: By how much the wait may be longer, so that neighbours can share a waking.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    nonisolated(nonsending)
        func sleep(until deadline: MonotonicInstant, tolerance: Duration) async throws(CancellationError)
}

extension RuntimeClock {
    /// Suspends the calling task until an instant.
    ///
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public nonisolated(nonsending) func sleep(until deadline: MonotonicInstant) async throws(CancellationError) {
        try await sleep(until: deadline, tolerance: .zero)
    }

    /// Suspends the calling task for a duration.
    ///
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    package func sleep(for duration: Duration) async throws(CancellationError) {
        try await sleep(until: now.advanced(by: duration))
    }
}

/// A clock that a test moves, and that sees when the engines under it have nothing left to run.
package protocol ManuallyMovedClock: RuntimeClock {
    /// Counts the event loops of every engine that is made with the clock.
    var activity: LoopActivity { get }

    /// By how many nanoseconds the wall clock is ahead of it: always the same, so that schedules do not depend on the
    /// machine's clocks.
    var lead: Int64 { get }

    /// Runs a closure, in the test's task, when the clock gets to an instant.
    ///
    /// - Returns: Calls it off.
    func schedule(at instant: MonotonicInstant, _ action: @escaping @Sendable () -> Void) -> @Sendable () -> Void
}

/// How many event loops have something to run.
///
/// A loop counts from when it is handed something, on the thread that does so, until it goes to sleep with nothing left.
/// So the count does not fall to zero while one loop hands work to another.
package final class LoopActivity: Sendable {
    private struct State {
        var count = 0
        var observers: [@Sendable () -> Void] = []
    }

    private let state = Locked(State())

    package init() {}

    /// Whether no loop has anything to run.
    package var isStill: Bool { state.withLock { $0.count == 0 } }

    /// Calls a closure once no loop has anything to run, on another thread than those of the loops.
    package func whenStill(_ action: @escaping @Sendable () -> Void) {
        let isStill = state.withLock { state in
            if state.count > 0 { state.observers.append(action) }
            return state.count == 0
        }
        if isStill { action() }
    }

    func began() {
        state.withLock { $0.count += 1 }
    }

    /// Called with a loop's lock held, and before it sleeps: what this resumes must not come to that loop here.
    func ended() {
        let observers = state.withLock { state -> [@Sendable () -> Void] in
            state.count -= 1
            guard state.count == 0 else { return [] }
            defer { state.observers = [] }
            return state.observers
        }
        for observer in observers { EventLoop.auxiliary.submit(observer) }
    }
}

/// The machine's monotonic clock.
///
/// A sleeping task waits in the timer heap of the event loop that its thread runs: on a job's thread that is the
/// engine's own loop. Called from any other thread it waits in the heap of one shared loop.
public struct SystemClock: RuntimeClock {
    /// Creates the clock.
    public init() {}

    /// The present instant.
    public var now: MonotonicInstant { .now }

    /// Suspends the calling task until an instant, and by no more than the tolerance and the machine's own delay longer.
    ///
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public nonisolated(nonsending)
        func sleep(until deadline: MonotonicInstant, tolerance: Duration) async throws(CancellationError)
    {
        let loop = EventLoop.current ?? EventLoop.auxiliary
        try await loop.sleep(until: deadline, tolerance: tolerance)
    }
}

/// A point on the machine's monotonic clock (`CLOCK_MONOTONIC`), in nanoseconds since an arbitrary start.
///
/// It is the same clock in every process of the machine, so instants can be compared across processes.
public struct MonotonicInstant: InstantProtocol, Hashable, Comparable, Sendable {
    /// Nanoseconds since the clock's start.
    public var nanoseconds: Int64

    /// Creates an instant.
    ///
    /// - Parameter nanoseconds: Nanoseconds since the clock's start.
    @inlinable
    public init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    /// The present instant.
    public static var now: MonotonicInstant {
        MonotonicInstant(nanoseconds: cmuster_monotonic_ns())
    }

    /// The present instant, some milliseconds late: for what happens often and need not be exact.
    package static var coarse: MonotonicInstant {
        MonotonicInstant(nanoseconds: cmuster_monotonic_coarse_ns())
    }

    /// An instant that is never reached.
    package static let distantFuture = MonotonicInstant(nanoseconds: .max)

    /// The instant a duration later; saturates at the ends of the clock instead of overflowing.
    ///
    /// - Parameter duration: How much later; negative for earlier.
    public func advanced(by duration: Duration) -> MonotonicInstant {
        let (sum, overflow) = nanoseconds.addingReportingOverflow(duration.clampedNanoseconds)
        guard overflow else { return MonotonicInstant(nanoseconds: sum) }
        return MonotonicInstant(nanoseconds: duration < .zero ? .min : .max)
    }

    /// The first instant of a grid that is not before this one; saturates at the end of the clock.
    ///
    /// - Parameter step: The grid's step in nanoseconds.
    package func roundedUp(toMultipleOf step: Int64) -> MonotonicInstant {
        let rest = nanoseconds % max(1, step)
        if rest == 0 { return self }
        return advanced(by: .nanoseconds(rest > 0 ? max(1, step) - rest : -rest))
    }

    /// The time from this instant to another.
    ///
    /// - Parameter other: The later instant; the result is negative when it is the earlier one.
    public func duration(to other: MonotonicInstant) -> Duration {
        let (difference, overflow) = other.nanoseconds.subtractingReportingOverflow(nanoseconds)
        guard overflow else { return .nanoseconds(difference) }
        return .nanoseconds(other.nanoseconds > nanoseconds ? Int64.max : Int64.min)
    }

    /// Whether one instant is before another.
    @inlinable
    public static func < (lhs: MonotonicInstant, rhs: MonotonicInstant) -> Bool {
        lhs.nanoseconds < rhs.nanoseconds
    }
}

/// The wall clock, for exported timestamps only; nothing is ever scheduled on it.
package enum WallClock {
    /// Seconds since 1970-01-01 00:00 UTC.
    package static var secondsSinceEpoch: Double {
        Double(cmuster_realtime_ns()) * 1e-9
    }

    /// The wall clock's reading at a monotonic instant, from how far that instant is from now.
    ///
    /// - Parameter instant: A monotonic instant, past or future.
    /// - Returns: Seconds since 1970-01-01 00:00 UTC; infinity for ``MonotonicInstant/distantFuture``.
    package static func secondsSinceEpoch(at instant: MonotonicInstant) -> Double {
        if instant == .distantFuture { return .infinity }
        let (ahead, overflow) = instant.nanoseconds.subtractingReportingOverflow(cmuster_monotonic_ns())
        let (sum, overflowed) = cmuster_realtime_ns().addingReportingOverflow(ahead)
        guard !overflow, !overflowed else { return instant.nanoseconds < 0 ? -.infinity : .infinity }
        return Double(sum) * 1e-9
    }

    /// By how many nanoseconds the wall clock is ahead of the monotonic one now, give or take a tick of the kernel's.
    package static var lead: Int64 { cmuster_realtime_lead_ns() }

    /// The same, given the clock's ``lead``.
    package static func secondsSinceEpoch(at instant: MonotonicInstant, lead: Int64) -> Double {
        let (sum, overflow) = instant.nanoseconds.addingReportingOverflow(lead)
        return overflow || instant == .distantFuture ? .infinity : Double(sum) * 1e-9
    }
}

/// Shared by a task that sleeps on another thread's loop and the handler of its cancellation.
///
/// Sound as `@unchecked Sendable`: only closures submitted to the one loop touch it, on that loop's thread.
final class RemoteSleep<Token>: @unchecked Sendable {
    var token: Token?
    var isCancelled = false
}

extension Duration {
    /// The duration in whole nanoseconds, held at `Int64`'s ends where it does not fit.
    package var clampedNanoseconds: Int64 {
        // Dividing numbers of 128 bits takes longer than all the rest, and most are less than nine seconds.
        if let short = Int64(exactly: attoseconds) { return short / 1_000_000_000 }
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow else { return seconds < 0 ? .min : .max }
        let (sum, overflowed) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        guard !overflowed else { return seconds < 0 ? .min : .max }
        return sum
    }

    /// The duration in seconds, as Prometheus wants it.
    package var inSeconds: Double {
        if let short = Int64(exactly: attoseconds) { return Double(short) / 1e18 }
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) * 1e-18
    }
}
