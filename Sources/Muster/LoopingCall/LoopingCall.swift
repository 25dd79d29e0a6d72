// SPDX-License-Identifier: Apache-2.0

import MusterExecution
public import MusterPlatform

/// A function that is called again and again.
///
/// All looping calls have a name, run as one job of the backend that they were created for, never overlap
/// themselves, and export their lateness, drift, runs, failures and overruns. While one is stopped it holds no
/// thread.
///
/// Sound as `@unchecked Sendable`: it and its subclasses, which are all in this module, have constants and locked state.
public class LoopingCall: @unchecked Sendable {
    /// The loop's name, the value of the label `loop`.
    public let name: String
    let driver: LoopDriver

    init(name: String, stallLimit: Duration?, backend: Backend?) {
        self.name = name
        driver = LoopDriver(name: name, stallLimit: stallLimit, backend: backend)
    }

    /// Whether the loop has been started and has not ended.
    public var isRunning: Bool { driver.isRunning }
    /// How the last life of the loop ended; `nil` while it runs and before its first start.
    package var outcome: Result<LoopEnd, any Error>? { driver.outcome }
    /// The loop's job, while it runs.
    package var job: Job? { driver.job }

    /// Ends the loop: at once while it waits, and after the present run while its function runs. Stopping a loop
    /// that does not run changes nothing.
    public func stop() { driver.stop() }

    /// Waits for the end of the loop.
    ///
    /// - Parameter deadline: The latest instant; `nil` waits without end.
    /// - Returns: How the loop ended.
    /// - Throws: The error that ended the loop; ``LoopingCallError/notStarted(loop:)`` before the first start;
    ///   `TimeLimitExceeded` at the deadline; `CancellationError` when the waiting task is cancelled.
    @discardableResult
    public func wait(until deadline: MonotonicInstant? = nil) async throws -> LoopEnd {
        try await driver.wait(until: deadline)
    }
}

/// Thrown by a looping call's function to end the loop, with a value for whoever waits for it.
///
/// Upstream: `LoopingCallDone`.
public struct LoopingCallDone: Error, BackendComponent {
    /// What `wait()` returns.
    public let value: any Sendable

    /// Creates the error.
    ///
    /// - Parameter value: What `wait()` returns.
    public init(_ value: any Sendable = true) {
        self.value = value
    }
}

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
            looping call '\(loop)' should supply either a delay (return one) or a maximumInterval (at its start)
            """
        }
    }
}

/// A looping call had a time-out, and it is over.
///
/// Upstream: `LoopingCallTimeOut`.
public struct LoopingCallTimeOut: Error, Hashable, BackendComponent, CustomStringConvertible {
    /// The loop's name.
    package let loop: String
    /// The time that the loop has taken, or, for a back-off, that it would have waited.
    package let elapsed: Duration

    /// Creates the error.
    ///
    /// - Parameters:
    ///   - loop: The loop's name.
    ///   - elapsed: The time that the loop has taken.
    package init(loop: String, elapsed: Duration) {
        self.loop = loop
        self.elapsed = elapsed
    }

    /// The loop and its time.
    public var description: String {
        "looping call '\(loop)' timed out after \(elapsed)"
    }
}

/// What a fixed-interval looping call does when a run has lasted beyond the start of the next.
///
/// A loop that wakes late, because its hub or the machine was busy, keeps its grid: ``burst`` and ``delay`` make up
/// for the starts that have passed, ``skip`` leaves them out. When ``delay`` wakes more than a second, and an interval
/// or more, too late, it does not make up for that but counts its grid from there.
public enum OverrunPolicy: String, Hashable, Sendable, CaseIterable {
    /// Makes up for every missed start, one right after the other, and is back on its grid then.
    case burst
    /// Runs at once and counts its grid from there: the schedule slips, which shows in
    /// `muster_loop_drift_seconds`. Upstream's behaviour.
    case delay
    /// Leaves the missed starts out and waits for the next point of its grid.
    case skip
}
