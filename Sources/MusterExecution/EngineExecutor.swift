// SPDX-License-Identifier: Apache-2.0

/// Where one job runs, and what to do when it is over.
public struct EngineExecutor: Sendable {
    /// The executor that the job's task prefers.
    public let executor: any TaskExecutor
    /// Called on the executor, as the first thing of the job.
    public let prepare: @Sendable () -> Void
    /// Called once: on the executor when the job's body is over, before anyone hears of it; or at once when no job
    /// came of it. What is still to be done on the executor then takes no time.
    public let release: @Sendable () -> Void

    /// Creates a placement.
    ///
    /// - Parameters:
    ///   - executor: The executor that the job's task prefers.
    ///   - prepare: Called on the executor, as the first thing of the job.
    ///   - release: Called when the job's body is over.
    public init(
        executor: any TaskExecutor, prepare: @escaping @Sendable () -> Void = {},
        release: @escaping @Sendable () -> Void = {}
    ) {
        self.executor = executor
        self.prepare = prepare
        self.release = release
    }
}
