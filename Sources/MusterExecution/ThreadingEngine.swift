// SPDX-License-Identifier: Apache-2.0

import MusterLock
package import MusterMetrics
package import MusterPlatform

/// Each job on a native thread of its own: it may block, and nobody else notices.
///
/// Threads start as jobs need them, are used again, and end after some time without a job.
package final class ThreadingEngine: ExecutionEngine {
    /// The engine's name.
    package let name: String
    /// The clock that jobs sleep on.
    package let clock: any RuntimeClock
    /// The jobs alive.
    package let ledger: JobLedger

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
    package init(
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
        let activity = (clock as? any ManuallyMovedClock)?.activity
        threadPool = ThreadPool(
            ThreadPool.Configuration(
                name: "muster-idle", limit: configuration.threadLimit,
                idleLimit: configuration.idleThreadLimit, keepAlive: configuration.threadKeepAlive,
                stackSize: configuration.threadStackSize, activity: activity)
        ) { threads.set(Double($0)) }
        blocking = try BlockingPool(
            backend: name, configuration: configuration, metrics: metrics, activity: activity)
    }

    /// Chooses a thread, an idle one or a new one, and gives it the job's name.
    ///
    /// - Throws: ``EngineError`` when all threads are taken or the system gives none.
    package func placeJob(named name: String) throws(EngineError) -> EngineExecutor {
        try threadPool.placeJob(named: name)
    }

    func reserveJobThread() { threadPool.reserve() }

    /// Runs blocking work in place, on the job's own thread. Called by a thread that is no job's (Swift's global
    /// pool, the main thread), it runs on a helper thread.
    ///
    /// - Throws: What it throws; `CancellationError` when the task is cancelled before the work has begun.
    package func runBlocking<Result: Sendable>(
        _ work: @escaping @Sendable () throws -> Result
    ) async throws -> Result {
        guard let loop = EventLoop.current, threadPool.hasLeased(loop) else { return try await blocking.run(work) }
        try Task.checkCancellation()
        return try loop.blocking(work)
    }

    /// The threads that run jobs or wait for one, and those of the helper pool.
    package var nativeThreads: Int { threadPool.threads + blocking.threads }

    /// Zero: jobs do not share threads.
    package var stalledTime: Duration { .zero }

    /// Ends the threads as they become idle.
    package func releaseThreads() {
        blocking.close()
        threadPool.close()
    }
}

/// Native threads for lease, each running an event loop of its own. A thread starts with the first lease that finds
/// none idle, is used again by later leases, and ends after some time without one.
package final class ThreadPool: Sendable {
    private struct State {
        var idle: [EventLoop] = []
        var leased: Set<ObjectIdentifier> = []
        /// On lease for the next one who asks.
        var reserve: EventLoop?
        /// Leases whose thread is being started.
        var starting = 0
        var threads = 0
        var isClosed = false
    }

    package struct Configuration: Sendable {
        /// The threads' name while they are not leased.
        let name: String
        /// The most threads on lease at a time.
        let limit: Int
        /// The most threads kept without a lease.
        let idleLimit: Int
        /// How long a thread stays without a lease.
        let keepAlive: Duration
        /// Each thread's stack in bytes.
        let stackSize: Int
        /// Counts the threads' loops.
        let activity: LoopActivity?

        package init(
            name: String, limit: Int = .max, idleLimit: Int, keepAlive: Duration, stackSize: Int,
            activity: LoopActivity? = nil
        ) {
            self.name = name
            self.limit = limit
            self.idleLimit = idleLimit
            self.keepAlive = keepAlive
            self.stackSize = stackSize
            self.activity = activity
        }

        /// With the limits of an engine's threads.
        package init(name: String, idleLimit: Int, _ limits: EngineConfiguration, activity: LoopActivity? = nil) {
            self.init(
                name: name, idleLimit: idleLimit, keepAlive: limits.threadKeepAlive, stackSize: limits.threadStackSize,
                activity: activity)
        }
    }

    private let configuration: Configuration
    private let state = Locked(State())
    private let threadsChanged: @Sendable (Int) -> Void

    package init(_ configuration: Configuration, threadsChanged: @escaping @Sendable (Int) -> Void = { _ in }) {
        self.configuration = configuration
        self.threadsChanged = threadsChanged
    }

    /// The native threads alive.
    var threads: Int { state.withLock { $0.threads } }

    /// Whether a loop is on lease.
    func hasLeased(_ loop: EventLoop) -> Bool {
        state.withLock { $0.leased.contains(ObjectIdentifier(loop)) }
    }

    /// Starts a thread, if it can be had, that stays until the next lease, which takes it.
    func reserve() {
        guard let loop = try? lease() else { return }
        let isSpare = state.withLock { state in
            guard state.reserve == nil, !state.isClosed else { return true }
            state.reserve = loop
            return false
        }
        if isSpare { release(loop) }
    }

    private enum Place {
        case idle(EventLoop)
        case new
        case full
    }

    /// Takes a thread. It stays the same one until it is given back, however long it has nothing to do.
    func lease() throws(EngineError) -> EventLoop {
        let place: Place = state.withLock { state in
            if let loop = state.reserve.take() { return .idle(loop) }
            guard state.leased.count + state.starting < configuration.limit else { return .full }
            guard let loop = state.idle.popLast() else {
                state.starting += 1
                return .new
            }
            // Held from here on: a thread that is about to end for lack of a lease stays, or has ended already and
            // is replaced with the first work.
            loop.hold()
            state.leased.insert(ObjectIdentifier(loop))
            return .idle(loop)
        }
        switch place {
        case .idle(let loop): return loop
        case .full: throw .threadLimitReached(limit: configuration.limit)
        case .new: break
        }
        do {
            let loop = try makeLoop()
            state.withLock { state in
                state.starting -= 1
                state.leased.insert(ObjectIdentifier(loop))
            }
            return loop
        } catch {
            state.withLock { $0.starting -= 1 }
            throw error
        }
    }

    private func makeLoop() throws(EngineError) -> EventLoop {
        let loop: EventLoop
        do {
            loop = try EventLoop(
                name: configuration.name, isDeferrable: true, activity: configuration.activity
            ) { [self] loop in
                // Something outlived its lease, or the thread ended just as it was leased.
                changeThreads(by: 1)
                loop.startThread(
                    name: configuration.name, keepAlive: configuration.keepAlive,
                    stackSize: configuration.stackSize, whenDone: { [self] in left(loop) })
            }
        } catch {
            throw .eventLoopUnavailable(error)
        }
        loop.hold()
        changeThreads(by: 1)
        do {
            try loop.attachThread(
                name: configuration.name, keepAlive: configuration.keepAlive,
                stackSize: configuration.stackSize, whenDone: { [self] in left(loop) })
        } catch {
            changeThreads(by: -1)
            throw .threadUnavailable(error)
        }
        return loop
    }

    /// Takes a thread for a job, and gives it the job's name.
    package func placeJob(named name: String) throws(EngineError) -> EngineExecutor {
        let loop = try lease()
        return EngineExecutor(
            executor: loop,
            prepare: { NativeThread.setName(name) },
            release: { [self] in
                if loop.isCurrent { NativeThread.setName(configuration.name) }
                release(loop)
            })
    }

    /// Gives a thread back.
    func release(_ loop: EventLoop) {
        let isKept = state.withLock { state in
            state.leased.remove(ObjectIdentifier(loop))
            guard !state.isClosed, state.idle.count < configuration.idleLimit else { return false }
            state.idle.append(loop)
            return true
        }
        loop.letGo()
        // Not stopped: a task that has outlived the lease may sleep there.
        if !isKept { loop.retire() }
    }

    /// Ends the threads that nobody leases, and each of the others when it is given back.
    package func close() {
        let (idle, reserve) = state.withLock { state in
            state.isClosed = true
            defer { state.idle = [] }
            return (state.idle, state.reserve.take())
        }
        for loop in idle { loop.retire() }
        if let reserve { release(reserve) }
    }

    private func changeThreads(by difference: Int) {
        state.withLock { state in
            state.threads += difference
            // Under the lock, so that the last figure told is the present one.
            threadsChanged(state.threads)
        }
    }

    private func left(_ loop: EventLoop) {
        state.withLock { state in
            // A loop that was leased again in the meantime is not among them; one that has been leased and given
            // back has a thread again, and is merely not reused.
            state.idle.removeAll { $0 === loop }
        }
        changeThreads(by: -1)
    }
}
