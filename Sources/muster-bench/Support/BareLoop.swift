// SPDX-License-Identifier: Apache-2.0

import CMusterBench

/// A C thread that does nothing but wake on a grid.
enum BareLoop {
    /// The slack that Linux gives to a process, in nanoseconds.
    static let defaultSlack: Int64 = 50_000

    /// Starts it.
    ///
    /// - Parameters:
    ///   - interval: The grid's step in nanoseconds.
    ///   - count: How often it wakes.
    ///   - slack: How late its timers may be made to fire, in nanoseconds.
    /// - Returns: Waits for its end, and returns its wakings and the slack that it got.
    static func start(interval: Int64, count: Int, slack: Int64) throws -> () throws -> (WakingGrid, Int64) {
        try Blocking.startThread {
            let reached = cmusterbench_set_timer_slack(slack)
            let origin = cmusterbench_now()
            var woken = [Int64](repeating: 0, count: count)
            cmusterbench_periodic(origin, interval, count, &woken)
            let due = (1...count).map { origin + Int64($0) * interval }
            return (WakingGrid(interval: interval, due: due, woken: woken), reached)
        }
    }
}
