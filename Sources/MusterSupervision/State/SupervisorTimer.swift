// SPDX-License-Identifier: Apache-2.0

/// What a supervisor waits for. There is at most one of each; arming it again moves it.
package enum SupervisorTimer: Hashable, Sendable {
    /// A process has to be ready, or parked, by then.
    case startup(Int)
    /// A process that was asked to stop has to be gone by then.
    case kill(Int)
    /// A process that was aborted has to be gone by then.
    case abort(Int)
    /// A slot gets its next process then.
    case backoff(WorkerID)
    /// A group gets its next spare then.
    case spareBackoff(Int)
    /// The workers are stopped then.
    case shutdownDelay
    /// The end comes then, even if a killed process is still there.
    case halt
    /// A group's restarts have calmed down by then.
    case intensity(Int)
}
