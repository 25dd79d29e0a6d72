// SPDX-License-Identifier: Apache-2.0

public import MusterMetrics
public import MusterPlatform

/// Each job on a native thread of its own: it may block, and nobody else notices.
///
/// Threads start as jobs need them, are used again, and end after some time without a job.
///
/// Upstream: the threading backend (native threads with Futurist).
public final class ThreadingEngine: ExecutionEngine {
    /// The engine's name.
    public let name: String
    /// The clock that jobs sleep on.
    public let clock: any RuntimeClock
    /// The jobs alive.
    public let ledger: JobLedger

    private let threadPool: ThreadPool
    private let blocking: BlockingPool

    /// Creates the engine without threads.
    ///
    /// - Parameters:
    ///   - name: The value of the label `backend`.
    ///   - configuration: The limits.
    ///   - metrics: Where the engine's metrics are kept.
    ///   - clock: The clock that jobs sleep on.
    /// - Throws: `MetricError` when the application has taken the name of one of the engine's metrics.
    public init(
        name: String = "threading", configuration: EngineConfiguration = EngineConfiguration(),
        metrics: MetricRegistry = .shared, clock: any RuntimeClock = SystemClock()
    ) throws {
        self.name = name
        self.clock = clock
        ledger = JobLedger(instruments: try JobInstruments(registry: metrics, backend: name))
        let threads = try metrics.gaugeFamily(
            "muster_job_threads", help: "Native threads that run jobs or wait for one.", labelNames: ["backend"]
        ).labels(name)
        threads.set(0)
        threadPool = ThreadPool(
            ThreadPool.Configuration(
                name: Self.idleThreadName, limit: configuration.threadLimit,
                idleLimit: configuration.idleThreadLimit, keepAlive: configuration.threadKeepAlive,
                stackSize: configuration.threadStackSize)
        ) { threads.set(Double($0)) }
        blocking = BlockingPool(
            limit: configuration.blockingThreadLimit, keepAlive: configuration.threadKeepAlive,
            stackSize: configuration.threadStackSize,
            instruments: try BlockingInstruments(registry: metrics, backend: name))
    }

    private static let idleThreadName = "muster-idle"

    /// Chooses a thread, an idle one or a new one, and gives it the job's name.
    ///
    /// - Parameter name: The job's name.
    /// - Returns: The thread's event loop.
    /// - Throws: ``EngineError`` when all threads are taken or the system gives none.
    public func placeJob(named name: String) throws(EngineError) -> EngineExecutor {
        let loop = try threadPool.lease()
        return EngineExecutor(
            executor: loop,
            prepare: { NativeThread.setName(name) },
            release: { [threadPool] in
                if loop.isCurrent { NativeThread.setName(Self.idleThreadName) }
                threadPool.release(loop)
            })
    }

    /// Runs blocking work in place, on the job's own thread. Called by a thread that is no job's (Swift's global
    /// pool, the main thread), it runs on a helper thread.
    ///
    /// - Parameter work: What to run.
    /// - Returns: What it returns.
    /// - Throws: What it throws; `CancellationError` when the task is cancelled before the work has begun.
    public func runBlocking<Result: Sendable>(
        _ work: @escaping @Sendable () throws -> Result
    ) async throws -> Result {
        guard let loop = EventLoop.current, threadPool.hasLeased(loop) else { return try await blocking.run(work) }
        try Task.checkCancellation()
        return try work()
    }

    /// The threads that run jobs or wait for one, and those of the helper pool.
    public var nativeThreads: Int { threadPool.threads + blocking.threads }

    /// Zero: jobs do not share threads.
    public var stalledTime: Duration { .zero }

    /// Ends the threads as they become idle.
    public func releaseThreads() {
        blocking.close()
        threadPool.close()
    }
}
