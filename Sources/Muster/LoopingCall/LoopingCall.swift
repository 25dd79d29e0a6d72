// SPDX-License-Identifier: Apache-2.0

public import MusterExecution
public import MusterPlatform

/// A function that is called again and again.
///
/// All looping calls have a name, run as one job of the backend that they were created for, never overlap
/// themselves, and export their lateness, drift, runs, failures and overruns. While one is stopped it holds no
/// thread.
///
/// Upstream: `LoopingCallBase`.
public protocol LoopingCall: AnyObject, Sendable {
    /// The loop's name, the value of the label `loop`.
    var name: String { get }

    /// Whether the loop has been started and has not ended.
    var isRunning: Bool { get }

    /// How the last life of the loop ended; `nil` while it runs and before its first start.
    var outcome: Result<LoopEnd, any Error>? { get }

    /// The loop's job, while it runs.
    var job: Job? { get }

    /// Ends the loop: at once while it waits, and after the present run while its function runs. Stopping a loop
    /// that does not run changes nothing.
    func stop()

    /// Waits for the end of the loop.
    ///
    /// - Parameter deadline: The latest instant; `nil` waits without end.
    /// - Returns: How the loop ended.
    /// - Throws: The error that ended the loop; ``LoopingCallError/notStarted(loop:)`` before the first start;
    ///   `TimeLimitExceeded` at the deadline; `CancellationError` when the waiting task is cancelled.
    func wait(until deadline: MonotonicInstant?) async throws -> LoopEnd
}

extension LoopingCall {
    /// Waits for the end of the loop, however long that takes.
    ///
    /// - Returns: How the loop ended.
    /// - Throws: As ``wait(until:)``.
    @discardableResult
    public func wait() async throws -> LoopEnd {
        try await wait(until: nil)
    }
}
