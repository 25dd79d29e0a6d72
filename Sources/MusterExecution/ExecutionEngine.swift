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
    /// - Returns: An executor for the job's task.
    /// - Throws: ``EngineError`` when there is no room.
    func placeJob(named name: String) throws(EngineError) -> EngineExecutor

    /// Runs work that blocks its thread, so that no other job is held up.
    ///
    /// - Parameter work: What to run; it may block.
    /// - Throws: What the work throws; `CancellationError` when the task is cancelled before the work has begun.
    func runBlocking<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result

    /// The executor that all jobs share; `nil` where jobs do not share one. A launcher lends it the main thread if it
    /// is one of Muster's event loops.
    var sharedExecutor: (any TaskExecutor)? { get }

    /// The native threads that the engine holds.
    var nativeThreads: Int { get }

    /// For how long the engine has made no progress although it has something to do; zero where jobs cannot hold
    /// each other up.
    var stalledTime: Duration { get }

    /// Gives back the engine's threads. Called once, after the ledger is closed and the last job is over.
    func releaseThreads()
}

extension ExecutionEngine {
    /// `nil`: jobs do not share an executor.
    public var sharedExecutor: (any TaskExecutor)? { nil }

    /// The event loop that runs all jobs, if there is one.
    package var sharedLoop: EventLoop? { sharedExecutor as? EventLoop }

    /// Starts the first job's thread beforehand, where jobs have threads of their own. One that cannot be had is asked for
    /// again with the job.
    package func reserveThread() { (self as? ThreadingEngine)?.reserveJobThread() }

    /// Starts a job.
    ///
    /// - Parameters:
    ///   - name: The job's name, for logs, errors and, on the threading engine, its thread.
    ///   - group: The group it belongs to.
    ///   - body: What it does; what it returns is the job's result.
    /// - Throws: ``EngineError`` when the engine is shut down or has no thread for it.
    @discardableResult
    public func spawn<Value: Sendable>(
        name: String, group: String? = nil, _ body: @escaping @Sendable () async throws -> Value
    ) throws(EngineError) -> ResultJob<Value> {
        try spawn(name: name, group: group, atOnce: false, owner: nil, body)
    }

    /// Starts a job.
    ///
    /// - Parameters:
    ///   - atOnce: Whether it may run up to where it first has to wait before this returns, which it does if the calling
    ///     thread is the one that runs it.
    ///   - owner: Who keeps account of it.
    @discardableResult
    package func spawn<Value: Sendable>(
        name: String, group: String? = nil, atOnce: Bool = false, owner: (any JobOwner)? = nil,
        _ body: @escaping @Sendable () async throws -> Value
    ) throws(EngineError) -> ResultJob<Value> {
        let ledger = ledger
        guard !ledger.isClosed else { throw .shutDown(engine: self.name) }
        let placement = try placeJob(named: name)
        let job = ResultJob(name: name, group: group, owner: owner, ledger: ledger, placement: placement, body)
        guard ledger.open(job) else {
            placement.release()
            throw .shutDown(engine: self.name)
        }
        owner?.jobBegins(job)
        job.run(on: placement.executor, atOnce: atOnce && sharedLoop?.isCurrent == true)
        return job
    }

    /// Makes a job that its owner starts, on a placement of its choice, or discards. It counts as queued until then.
    package func prepare<Value: Sendable>(
        name: String, group: String? = nil, owner: any JobOwner, _ body: @escaping @Sendable () async throws -> Value
    ) throws(EngineError) -> ResultJob<Value> {
        let job = ResultJob(name: name, group: group, owner: owner, ledger: ledger, placement: nil, body)
        guard ledger.open(job) else { throw .shutDown(engine: self.name) }
        return job
    }

    /// Suspends the calling task until an instant of the engine's clock.
    ///
    /// - Parameter tolerance: By how much the wait may be longer, so that jobs which wait for about the same instant
    ///   share a waking; more than 4 s counts as 4 s.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public nonisolated(nonsending) func sleep(
        until deadline: MonotonicInstant, tolerance: Duration = .zero
    ) async throws(CancellationError) {
        try await clock.sleep(until: deadline, tolerance: tolerance)
    }

    /// Suspends the calling task for a duration on the engine's clock.
    ///
    /// - Parameter tolerance: By how much the wait may be longer, so that jobs which wait for about the same instant
    ///   share a waking; more than 4 s counts as 4 s.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public nonisolated(nonsending) func sleep(
        for duration: Duration, tolerance: Duration = .zero
    ) async throws(CancellationError) {
        try await clock.sleep(until: clock.now.advanced(by: duration), tolerance: tolerance)
    }

    /// Lets other jobs run.
    public nonisolated(nonsending) func yield() async {
        if let loop = EventLoop.current { await loop.yield() } else { await Task.yield() }
    }

    /// Suspends the calling task until a descriptor is ready.
    ///
    /// The descriptor should be non-blocking, and must stay open meanwhile.
    ///
    /// - Parameters:
    ///   - descriptor: The file descriptor.
    ///   - events: What to wait for; an error or a hang-up on the descriptor ends every wait.
    /// - Throws: `CancellationError` as soon as the task is cancelled; `DescriptorError` when the kernel cannot
    ///   watch the descriptor.
    public func ready(_ descriptor: Int32, for events: DescriptorEvents) async throws {
        try await (EventLoop.current ?? EventLoop.auxiliary).ready(descriptor, for: events)
    }

    /// What is alive in the engine.
    package var census: Census {
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

/// The limits of the two engines.
public struct EngineConfiguration: Hashable, Sendable {
    /// The most threads that jobs of the threading engine may have at a time.
    package var threadLimit: Int
    /// The most threads that the threading engine keeps without a job.
    package var idleThreadLimit: Int
    /// The most threads for blocking work beside the jobs' own.
    package var blockingThreadLimit: Int
    /// How long a thread without a job stays.
    package var threadKeepAlive: Duration
    /// The stack of each thread in bytes, at least 64 KiB; the kernel commits it as it is used.
    package var threadStackSize: Int

    /// Creates limits.
    ///
    /// - Parameters:
    ///   - threadLimit: The most threads that jobs of the threading engine may have at a time.
    ///   - idleThreadLimit: The most threads that the threading engine keeps without a job.
    ///   - blockingThreadLimit: The most threads for blocking work beside the jobs' own.
    ///   - threadKeepAlive: How long a thread without work stays.
    ///   - threadStackSize: The stack of each thread in bytes.
    public init(
        threadLimit: Int = 4096, idleThreadLimit: Int = 64, blockingThreadLimit: Int = 20,
        threadKeepAlive: Duration = .seconds(10), threadStackSize: Int = 2 << 20
    ) {
        self.threadLimit = threadLimit
        self.idleThreadLimit = idleThreadLimit
        self.blockingThreadLimit = blockingThreadLimit
        self.threadKeepAlive = threadKeepAlive
        self.threadStackSize = threadStackSize
    }
}

/// Where one job runs, and what to do when it is over.
public struct EngineExecutor: Sendable {
    /// The executor that the job's task prefers.
    package let executor: any TaskExecutor
    /// Called on the executor, as the first thing of the job.
    package let prepare: @Sendable () -> Void
    /// Called once: on the executor when the job's body is over, before anyone hears of it; or at once when no job
    /// came of it. What is still to be done on the executor then takes no time.
    package let release: @Sendable () -> Void

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

/// Why an engine could not take a job.
public enum EngineError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The engine has been shut down.
    case shutDown(engine: String)
    /// Every thread the engine may have is taken by a job.
    case threadLimitReached(limit: Int)
    /// The system gave no thread.
    case threadUnavailable(SystemError)
    /// The system gave no event loop.
    case eventLoopUnavailable(SystemError)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .shutDown(let engine):
            "the \(engine) engine has been shut down and takes no more jobs"
        case .threadLimitReached(let limit):
            """
            all \(limit) threads of the threading engine are taken by jobs: raise its thread limit, give the thread \
            group a capacity, or run these jobs on the cooperative backend
            """
        case .threadUnavailable(let error):
            "the system has no room for another thread (\(error)): raise its limit on processes or run fewer jobs"
        case .eventLoopUnavailable(let error):
            "no event loop could be made (\(error)): raise the limit on open files"
        }
    }
}
