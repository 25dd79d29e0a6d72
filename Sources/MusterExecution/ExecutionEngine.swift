// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// What a backend runs its jobs with.
///
/// Everything above is written once over this protocol. An engine of one's own says where jobs run
/// (``placeJob(named:)``) and what becomes of blocking work; spawning, sleeping and waiting come with it.
///
/// What stays on a job's thread: its body, the `nonisolated` functions it calls, its child tasks (`async let`, task
/// groups), and what follows each of its `await`s, whoever resumes it. What does not: `Task {}` and
/// `Task.detached {}` (Swift's global pool), `MainActor` code (the main thread), actors with an executor of their
/// own, and the body of a default actor's method while another thread holds that actor. After each of these the job
/// is back on its thread.
public protocol ExecutionEngine: AnyObject, Sendable {
    /// The engine's name, the value of the label `backend`.
    var name: String { get }

    /// The clock that jobs sleep on.
    var clock: any RuntimeClock { get }

    /// The jobs alive.
    var ledger: JobLedger { get }

    /// Chooses where a new job runs.
    ///
    /// - Parameter name: The job's name.
    /// - Returns: An executor for the job's task.
    /// - Throws: ``EngineError`` when there is no room.
    func placeJob(named name: String) throws(EngineError) -> EngineExecutor

    /// Runs work that blocks its thread, so that no other job is held up.
    ///
    /// - Parameter work: What to run; it may block.
    /// - Returns: What the work returns.
    /// - Throws: What the work throws; `CancellationError` when the task is cancelled before the work has begun.
    func runBlocking<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result

    /// The native threads that the engine holds.
    var nativeThreads: Int { get }

    /// For how long the engine has made no progress although it has something to do; zero where jobs cannot hold
    /// each other up.
    var stalledTime: Duration { get }

    /// Gives back the engine's threads. Called once, after the ledger is closed and the last job is over.
    func releaseThreads()
}

extension ExecutionEngine {
    /// Starts a job.
    ///
    /// - Parameters:
    ///   - name: The job's name, for logs, errors and, on the threading engine, its thread.
    ///   - group: The group it belongs to.
    ///   - body: What it does.
    /// - Returns: The job's handle.
    /// - Throws: ``EngineError`` when the engine is shut down or has no thread for it.
    @discardableResult
    public func spawn(
        name: String, group: String? = nil, _ body: @escaping @Sendable () async throws -> Void
    ) throws(EngineError) -> Job {
        guard !ledger.isClosed else { throw .shutDown(engine: self.name) }
        let placement = try placeJob(named: name)
        guard let job = ledger.open(name: name, group: group) else {
            placement.release()
            throw .shutDown(engine: self.name)
        }
        let task = Task(name: name, executorPreference: placement.executor) {
            placement.prepare()
            await Job.$current.withValue(job) {
                await job.run(body, release: placement.release)
            }
        }
        job.adopt(task)
        return job
    }

    /// Suspends the calling task until an instant of the engine's clock.
    ///
    /// - Parameter deadline: When to go on.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(until deadline: MonotonicInstant) async throws(CancellationError) {
        try await clock.sleep(until: deadline)
    }

    /// Suspends the calling task for a duration on the engine's clock.
    ///
    /// - Parameter duration: How long from now.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(for duration: Duration) async throws(CancellationError) {
        try await clock.sleep(for: duration)
    }

    /// Lets other jobs run.
    public func yield() async {
        await Task.yield()
    }

    /// Suspends the calling task until a descriptor is ready.
    ///
    /// The descriptor should be non-blocking, and must stay open meanwhile.
    ///
    /// - Parameters:
    ///   - descriptor: The file descriptor.
    ///   - events: What to wait for; an error or a hang-up on the descriptor ends every wait.
    /// - Throws: `CancellationError` as soon as the task is cancelled; `EventLoopError` when the kernel cannot
    ///   watch the descriptor.
    public func ready(_ descriptor: Int32, for events: DescriptorEvents) async throws {
        try await (EventLoop.current ?? EventLoop.auxiliary).ready(descriptor, for: events)
    }

    /// What is alive in the engine.
    public var census: Census {
        var census = ledger.census
        census.nativeThreads = nativeThreads
        return census
    }

    /// Refuses new jobs, cancels the present ones, waits for them and gives back the threads.
    ///
    /// - Parameter deadline: The latest end of the wait; `nil` for none.
    /// - Throws: ``TimeLimitExceeded`` when jobs are left at the deadline; they keep their threads.
    public func shutDown(until deadline: MonotonicInstant? = nil) async throws {
        _ = try await ledger.close().wait(
            until: deadline, clock: clock, operation: "the end of the \(name) engine's jobs")
        releaseThreads()
    }
}
