// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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
