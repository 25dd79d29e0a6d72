// SPDX-License-Identifier: Apache-2.0

/// Why a looping call refused.
public enum LoopingCallError: Error, Hashable, Sendable, CustomStringConvertible {
    /// `start` of a loop that runs.
    case alreadyRunning(loop: String)
    /// `wait` of a loop that was never started.
    case notStarted(loop: String)
    /// An interval below the shortest one.
    case intervalTooShort(loop: String, interval: Duration, shortest: Duration)
    /// A dynamic loop's function returned no delay, and the loop has no longest one to take instead.
    case missingDelay(loop: String)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .alreadyRunning(let loop):
            "looping call '\(loop)' is running already: stop it, and wait for it, before it is started again"
        case .notStarted(let loop):
            "looping call '\(loop)' was never started, so there is nothing to wait for"
        case .intervalTooShort(let loop, let interval, let shortest):
            "looping call '\(loop)' has an interval of \(interval); it must be \(shortest) or more"
        case .missingDelay(let loop):
            """
            looping call '\(loop)' should supply either a delay (return one) or a periodicIntervalMax (at its start)
            """
        }
    }
}
