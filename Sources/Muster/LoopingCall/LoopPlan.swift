// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// When a looping call runs: instants and results in, the next start out. Pure: no clock, no sleeping, no metrics.
protocol LoopPlan: Sendable {
    /// What the loop's function returns.
    associatedtype Output: Sendable

    /// The loop starts.
    ///
    /// - Parameter now: The present instant.
    /// - Returns: When the first run is due.
    mutating func begin(at now: MonotonicInstant) -> MonotonicInstant

    /// A run begins.
    ///
    /// - Parameter now: The present instant.
    /// - Returns: How late it is, and how many runs were left out because of that.
    mutating func runBegan(at now: MonotonicInstant) -> LoopRunStart

    /// A run is over.
    ///
    /// - Parameters:
    ///   - now: The present instant.
    ///   - output: What the function returned; `nil` when it threw and the loop goes on.
    /// - Returns: When the next run is due.
    /// - Throws: What ends the loop.
    mutating func runEnded(at now: MonotonicInstant, output: Output?) throws -> LoopRunEnd

    /// How far the schedule has slipped from its ideal grid since the start.
    var drift: Duration { get }

    /// The time between two starts, where it is fixed.
    var interval: Duration? { get }
}
