// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterPlatform

/// Calls a function on a fixed grid, and ends with ``LoopingCallTimeOut`` when a run is over after the time-out.
///
/// Sound as `@unchecked Sendable` for its superclass' reason: it adds constants only.
public final class FixedIntervalWithTimeoutLoopingCall: LoopingCall, BackendComponent, @unchecked Sendable {
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
    ///   - timeout: The longest time from the start of the loop to the end of a run; zero for none. It is looked at
    ///     after each run: it does not interrupt one.
    /// - Throws: `LoopingCallError`; what selecting the backend or starting a job throws.
    public func start(
        interval: Duration, initialDelay: Duration = .zero, tolerance: Duration? = nil, stopsOnError: Bool = true,
        timeout: Duration = .zero
    ) throws {
        let shortest = FixedIntervalLoopingCall.shortestInterval
        guard interval >= shortest else {
            throw LoopingCallError.intervalTooShort(loop: name, interval: interval, shortest: shortest)
        }
        let grid = FixedIntervalPlan(interval: interval, initialDelay: initialDelay, policy: overrun)
        try begin(
            FixedIntervalWithTimeoutPlan(grid: grid, loop: name, timeout: timeout), tolerance: tolerance,
            stopsOnError: stopsOnError, function)
    }
}

/// A fixed grid that ends with ``LoopingCallTimeOut`` once a run is over after the time-out.
struct FixedIntervalWithTimeoutPlan: LoopPlan {
    private var grid: FixedIntervalPlan
    private let loop: String
    private let timeout: Duration
    private var start = MonotonicInstant(nanoseconds: 0)

    /// Creates the plan.
    ///
    /// - Parameters:
    ///   - grid: The grid.
    ///   - loop: The loop's name, for the error.
    ///   - timeout: The longest time from the loop's start, the initial delay included; zero for none.
    init(grid: FixedIntervalPlan, loop: String, timeout: Duration) {
        self.grid = grid
        self.loop = loop
        self.timeout = timeout
    }

    var interval: Duration? { grid.interval }
    var drift: Duration { grid.drift }

    mutating func begin(at now: MonotonicInstant) -> MonotonicInstant {
        start = now
        return grid.begin(at: now)
    }

    mutating func runBegan(at now: MonotonicInstant) -> LoopRunStart {
        grid.runBegan(at: now)
    }

    mutating func runEnded(at now: MonotonicInstant, output: Void?) throws -> LoopRunEnd {
        let elapsed = start.duration(to: now)
        if timeout > .zero, elapsed > timeout { throw LoopingCallTimeOut(loop: loop, elapsed: elapsed) }
        return grid.runEnded(at: now, output: output)
    }
}
