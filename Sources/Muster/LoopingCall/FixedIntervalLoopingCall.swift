// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterPlatform

/// Calls a function on a fixed grid: start n is due at the first start plus n intervals, on the monotonic clock,
/// however long the runs take and however late they wake.
///
/// A run never begins before it is due. It may begin later, by up to the loop's tolerance, when that lets it share a
/// waking with others: thousands of loops then wake their thread as often as a few. A loop without neighbours is
/// punctual, and the grid never moves by it.
///
/// Sound as `@unchecked Sendable` for its superclass' reason: it adds constants only.
public final class FixedIntervalLoopingCall: LoopingCall, BackendComponent, @unchecked Sendable {
    /// The shortest interval; a shorter one is refused.
    package static let shortestInterval = Duration.microseconds(100)

    private let function: @Sendable () async throws -> Void
    private let overrun: OverrunPolicy

    /// Creates a loop that does not run yet.
    ///
    /// - Parameters:
    ///   - name: The loop's name; loops of one name share their metrics.
    ///   - overrun: What happens after a run that has lasted beyond the next start.
    ///   - stallLimit: How long a run may be overdue before the process counts as stuck; `nil` for as long as it takes.
    ///   - backend: The backend to run on; the selected one, asked for at the start, when `nil`.
    ///   - function: What to call.
    public init(
        name: String, overrun: OverrunPolicy = .delay, stallLimit: Duration? = nil, backend: Backend? = nil,
        _ function: @escaping @Sendable () async throws -> Void
    ) {
        self.overrun = overrun
        self.function = function
        super.init(name: name, stallLimit: stallLimit, backend: backend)
    }

    /// Starts the loop. It may be started again after its end.
    ///
    /// - Parameters:
    ///   - interval: The time between two starts, 100 µs or more.
    ///   - initialDelay: The time before the first run.
    ///   - tolerance: How late a run may begin so that it shares a waking with neighbours; `nil` for a thousandth of the interval,
    ///     1 ms at most.
    ///   - stopsOnError: Whether an error of the function ends the loop. When not, it is logged and counted.
    /// - Throws: `LoopingCallError`; what selecting the backend or starting a job throws.
    public func start(
        interval: Duration, initialDelay: Duration = .zero, tolerance: Duration? = nil, stopsOnError: Bool = true
    ) throws {
        try start(
            interval: interval, initialDelay: initialDelay, tolerance: tolerance, stopsOnError: stopsOnError, in: nil)
    }

    func start(
        interval: Duration, initialDelay: Duration, tolerance: Duration?, stopsOnError: Bool, in group: ThreadGroup?
    ) throws {
        guard interval >= Self.shortestInterval else {
            throw LoopingCallError.intervalTooShort(loop: name, interval: interval, shortest: Self.shortestInterval)
        }
        try begin(
            FixedIntervalPlan(interval: interval, initialDelay: initialDelay, policy: overrun),
            tolerance: tolerance, stopsOnError: stopsOnError, in: group, function)
    }
}

/// A fixed grid on the monotonic clock: start n is due at origin + n * interval, whatever became of start n - 1.
struct FixedIntervalPlan: LoopPlan {
    typealias Output = Void

    /// Up to how much lateness ``OverrunPolicy/delay`` makes up for. A machine that is busy for a moment moves no
    /// grid that way, and one that has stood still for an hour makes no hour's worth of runs.
    private static let longestMadeUp: Int64 = 1_000_000_000

    private let step: Int64
    private let initialDelay: Duration
    private let policy: OverrunPolicy
    private var due = MonotonicInstant(nanoseconds: 0)
    private var began = MonotonicInstant(nanoseconds: 0)
    private var slipped: Int64 = 0

    /// Creates the plan.
    ///
    /// - Parameters:
    ///   - interval: The time between two starts; positive.
    ///   - initialDelay: The time before the first.
    ///   - policy: What happens after an overrun.
    init(interval: Duration, initialDelay: Duration, policy: OverrunPolicy) {
        step = max(1, interval.clampedNanoseconds)
        self.initialDelay = initialDelay
        self.policy = policy
    }

    var interval: Duration? { .nanoseconds(step) }
    var drift: Duration { .nanoseconds(slipped) }

    mutating func begin(at now: MonotonicInstant) -> MonotonicInstant {
        due = now.advanced(by: max(.zero, initialDelay))
        slipped = 0
        return due
    }

    mutating func runBegan(at now: MonotonicInstant) -> LoopRunStart {
        let late = max(0, now.nanoseconds - due.nanoseconds)
        let lateness: Duration
        var skipped = 0
        began = now
        switch policy {
        case .skip where late >= step:
            // It woke on or after a later point of the grid: that one is the start, and those before it are gone.
            skipped = Int(late / step)
            due.nanoseconds += Int64(skipped) * step
            lateness = .nanoseconds(now.nanoseconds - due.nanoseconds)
        case .delay where late >= step && late > Self.longestMadeUp:
            // The grid goes on from here.
            lateness = .nanoseconds(late)
            slipped += late
            due = now
        case .burst, .delay, .skip:
            lateness = .nanoseconds(now.nanoseconds - due.nanoseconds)
        }
        return LoopRunStart(
            lateness: lateness, skipped: skipped, nextDue: due.advanced(by: .nanoseconds(step)))
    }

    mutating func runEnded(at now: MonotonicInstant, output: Void?) -> LoopRunEnd {
        // An interval of centuries must not overflow the clock.
        due = due.advanced(by: .nanoseconds(step))
        let over = now.nanoseconds - due.nanoseconds
        guard over > 0 else { return LoopRunEnd(due: due) }
        // A run that began after this point and was short is one of those made up for.
        guard began <= due || began.duration(to: now) > .nanoseconds(step) else { return LoopRunEnd(due: due) }
        switch policy {
        case .burst:
            return LoopRunEnd(due: due, overrun: .nanoseconds(over))
        case .delay:
            slipped += over
            due = now
            return LoopRunEnd(due: due, overrun: .nanoseconds(over))
        case .skip:
            let missed = (over + step - 1) / step
            due.nanoseconds += missed * step
            return LoopRunEnd(due: due, overrun: .nanoseconds(over), skipped: Int(missed))
        }
    }
}
