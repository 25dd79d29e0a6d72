// SPDX-License-Identifier: Apache-2.0

import Logging
public import MusterExecution
import MusterLock
import MusterMetrics
public import MusterPlatform
import Synchronization

/// A bounded pool that runs tasks, a number of them at a time; the others are queued, up to a limit, or wait for their
/// time.
///
/// A task is a job of the backend, or with ``Kind/threads`` of a native thread of the pool on either backend, where it
/// may block. It is queued from its submission to its start, and cancelled there by its handle.
///
/// The number of workers, which is how many tasks run at a time, moves within its bounds: it grows as tasks are submitted
/// while the load (tasks that run or are queued) is at least `growThreshold` by worker, and shrinks as they end while it
/// is at most `shrinkThreshold`. A worker without a task is nothing but that number: its thread is the backend's again.
public final class WorkPool: Sendable, JobOwner {
    /// Where the tasks run.
    public enum Kind: Hashable, Sendable {
        /// As jobs of the backend.
        case jobs
        /// Each on a native thread, so that it may block.
        case threads
    }

    fileprivate struct State {
        var pool: PoolState
        /// The tasks that have not been started, by their tickets.
        var unstarted: [UInt64: Job] = [:]
        var counts = WorkPoolStatistics()
        /// What has last been added to the gauges.
        var shown = (workers: 0, running: 0, queued: 0, delayed: 0)
        var binding: Binding?
        /// The callers that wait for room in the queue, by the tickets of their tasks.
        var rooms: [UInt64: Completion<Void>] = [:]
        /// Wakes for the first delayed task.
        var alarm: (due: MonotonicInstant, task: Task<Void, Never>)?
        var isClosed = false
        /// The tasks that run and wait for the end of the others: how often each does.
        var held: [UInt64: Int] = [:]
        /// Those that wait for the end, and the tasks that do it.
        var shutDowns: [(end: Completion<Void>, task: UInt64?)] = []
    }

    fileprivate final class Binding: Sendable {
        let backend: Backend
        let instruments: WorkPoolInstruments
        /// `nil` where the backend's jobs have threads of their own.
        let threads: ThreadPool?

        init(backend: Backend, instruments: WorkPoolInstruments, threads: ThreadPool?) {
            self.backend = backend
            self.instruments = instruments
            self.threads = threads
        }

        func place(_ job: Job) throws(EngineError) -> EngineExecutor {
            if let threads { return try threads.placeJob(named: job.name) }
            return try backend.engine.placeJob(named: job.name)
        }
    }

    /// The pool's name, the value of the label `pool`.
    public let name: String

    private let kind: Kind
    private let size: PoolSize
    private let whenFull: WhenFull
    private let chosenBackend: Backend?
    private let state: Locked<State>
    /// Whether the system has ever refused a thread, so that tasks wait although workers are free.
    private let hasLackedThreads = Atomic(false)
    private let queueNanoseconds = Atomic<Int64>(0)
    private let runNanoseconds = Atomic<Int64>(0)

    /// Creates an empty pool.
    ///
    /// - Parameters:
    ///   - name: The pool's name, for logs and metrics; pools of one name add up.
    ///   - kind: Where its tasks run.
    ///   - workers: The least and the most workers.
    ///   - growThreshold: The load by worker from which on the pool grows; above 1, tasks are queued first.
    ///   - shrinkThreshold: The load by worker up to which the pool shrinks.
    ///   - queueLimit: The most tasks that wait for a worker.
    ///   - whenFull: What happens to a task for which the queue has no room.
    ///   - backend: The backend to run on; the selected one, asked for at the first use, when `nil`.
    public init(
        name: String, kind: Kind = .jobs, workers: ClosedRange<Int>, growThreshold: Double = 0.8,
        shrinkThreshold: Double = 0.4, queueLimit: Int = .max, whenFull: WhenFull = .wait, backend: Backend? = nil
    ) {
        self.name = name
        self.kind = kind
        self.whenFull = whenFull
        chosenBackend = backend
        size = PoolSize(
            minimum: workers.lowerBound, maximum: workers.upperBound, growThreshold: growThreshold,
            shrinkThreshold: shrinkThreshold)
        state = Locked(State(pool: PoolState(size: size, queueLimit: queueLimit)))
    }

    deinit {
        // Nothing is in it any more: its tasks hold it.
        guard let binding = state.withLock({ $0.binding }) else { return }
        binding.threads?.close()
        binding.instruments.limit.add(-Double(size.maximum))
        binding.instruments.workers.add(-Double(state.withLock { $0.shown.workers }))
    }

    private func bind() throws -> Binding {
        if let binding = state.withLock({ $0.binding }) { return binding }
        guard size.minimum >= 1, size.growThreshold > size.shrinkThreshold, size.shrinkThreshold >= 0 else {
            throw WorkPoolError.invalid(pool: name)
        }
        let backend = try chosenBackend ?? Backend.current
        let needsThreads = kind == .threads && !(backend.engine is ThreadingEngine)
        let made = Binding(
            backend: backend,
            instruments: try WorkPoolInstruments(
                registry: backend.metrics, pool: name, backend: backend.type.rawValue),
            threads: needsThreads
                ? ThreadPool(
                    .init(
                        name: "muster-pool", idleLimit: size.maximum, backend.limits,
                        activity: (backend.engine.clock as? any ManuallyMovedClock)?.activity)) : nil)
        return state.withLock { state in
            if let binding = state.binding { return binding }
            state.binding = made
            made.instruments.limit.add(Double(size.maximum))
            state.show()
            return made
        }
    }

    /// Exports the pool's metrics before its first task, and lets a pool that was shut down take tasks again.
    ///
    /// - Throws: ``WorkPoolError/invalid(pool:)``; what selecting the backend throws.
    public func open() throws {
        _ = try bind()
        state.withLock { $0.isClosed = false }
    }

    // MARK: Submitting

    /// Submits a task. With a full queue, waits for room or throws, as the pool was created. A task of the pool itself
    /// never waits: the queue takes its tasks beyond the limit.
    ///
    /// - Throws: ``WorkPoolError``; `EngineError` when the backend is shut down; `CancellationError` when the calling task
    ///   is cancelled while it waits; what selecting the backend throws.
    @discardableResult
    public func submit<Value: Sendable>(
        name: String? = nil, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> ResultJob<Value> {
        let (job, room) = try submit(name: name, waits: whenFull == .wait, body)
        do {
            try await room?.wait()
        } catch {
            job.cancel()
            throw error
        }
        return job
    }

    /// Submits a task if there is room for it now.
    ///
    /// - Throws: ``WorkPoolError``; `EngineError` when the backend is shut down; what selecting the backend throws.
    @discardableResult
    public func trySubmit<Value: Sendable>(
        name: String? = nil, _ body: @escaping @Sendable () async throws -> Value
    ) throws -> ResultJob<Value> {
        try submit(name: name, waits: false, body).job
    }

    /// Submits a task once a time has passed. Until then it has no place in the queue; one that finds it full then waits
    /// for a worker all the same, or fails with ``WorkPoolError/full(pool:)``, as the pool was created.
    ///
    /// - Throws: ``WorkPoolError``; `EngineError` when the backend is shut down; what selecting the backend throws.
    @discardableResult
    public func submit<Value: Sendable>(
        after delay: Duration, name: String? = nil, _ body: @escaping @Sendable () async throws -> Value
    ) throws -> ResultJob<Value> {
        guard delay >= .zero else { throw WorkPoolError.negativeDelay(pool: self.name) }
        let binding = try bind()
        let due = binding.backend.engine.clock.now.advanced(by: delay)
        let job = try prepare(name: name, binding: binding, since: due, body)
        let isOpen = state.withLock { state in
            guard !state.isClosed else { return false }
            state.counts.submitted += 1
            state.keep(job, as: state.pool.delay(until: due))
            setAlarm(&state)
            state.show()
            return true
        }
        guard isOpen else { throw refuse(job, .shutDown(pool: self.name)) }
        binding.instruments.submissions.increment()
        if delay == .zero { submitDue(binding) }
        if binding.backend.engine.ledger.isClosed { jobCancelled(job) }
        return job
    }

    private func submit<Value: Sendable>(
        name: String?, waits: Bool, _ body: @escaping @Sendable () async throws -> Value
    ) throws -> (job: ResultJob<Value>, room: Completion<Void>?) {
        let binding = try bind()
        // Most often no job is made that is refused then.
        let isFull = state.withLock { state in
            guard !waits, !state.isClosed, state.pool.isFull else { return false }
            state.counts.rejected += 1
            return true
        }
        if isFull {
            binding.instruments.rejections.increment()
            throw WorkPoolError.full(pool: self.name)
        }
        let job = try prepare(name: name, binding: binding, since: binding.backend.engine.clock.now, body)
        // Its own tasks could wait for each other.
        let isInside = Job.current?.isOwned(by: self) == true
        let (admission, room, first): (PoolState.Admission?, Completion<Void>?, Job?) = state.withLock { state in
            guard !state.isClosed else { return (nil, nil, nil) }
            var (admission, ticket) = state.pool.submit()
            var room: Completion<Void>?
            if admission == .full, waits {
                (admission, ticket) = (.queued, state.pool.enqueue().ticket)
                if !isInside {
                    room = Completion()
                    state.rooms[ticket] = room
                }
            }
            if admission == .full { state.counts.rejected += 1 } else { state.counts.submitted += 1 }
            switch admission {
            case .run: job.seat = -Int(ticket)
            case .queued: state.keep(job, as: ticket)
            case .full: break
            }
            defer { state.show() }
            return (admission, room, admission == .queued ? state.next() : nil)
        }
        switch admission {
        case nil: throw refuse(job, .shutDown(pool: self.name))
        case .full:
            binding.instruments.rejections.increment()
            throw refuse(job, .full(pool: self.name))
        case .run:
            binding.instruments.submissions.increment()
            start(job, binding)
        case .queued:
            binding.instruments.submissions.increment()
            start(first, binding)
            // One that the backend's shutdown has missed, since it was in no queue yet.
            if binding.backend.engine.ledger.isClosed { jobCancelled(job) }
        }
        return (job, room)
    }

    private func prepare<Value: Sendable>(
        name: String?, binding: Binding, since submitted: MonotonicInstant,
        _ body: @escaping @Sendable () async throws -> Value
    ) throws(EngineError) -> ResultJob<Value> {
        let (instruments, clock) = (binding.instruments, binding.backend.engine.clock)
        return try binding.backend.engine.prepare(name: name ?? self.name, group: self.name, owner: self) { [self] in
            let start = clock.now
            let queued = submitted.duration(to: start)
            instruments.queueTime.observe(queued)
            queueNanoseconds.wrappingAdd(queued.clampedNanoseconds, ordering: .relaxed)
            defer {
                let ran = start.duration(to: clock.now)
                instruments.runTime.observe(ran)
                runNanoseconds.wrappingAdd(ran.clampedNanoseconds, ordering: .relaxed)
            }
            return try await body()
        }
    }

    /// Ends a job that is not in the pool.
    private func refuse(_ job: Job, _ error: WorkPoolError) -> WorkPoolError {
        job.discard(.cancelled)
        return error
    }

    // MARK: Starting and ending

    /// Starts a job that has a worker, and those that the pool has grown for.
    private func start(_ first: Job?, _ binding: Binding?) {
        var next = first
        while let job = next, let binding {
            do throws(EngineError) {
                job.start(on: try binding.place(job))
            } catch {
                let ticket = -job.seat
                hasLackedThreads.store(true, ordering: .relaxed)
                let refused = state.withLock { state in
                    state.keep(job, as: UInt64(ticket))
                    defer { state.show() }
                    return state.takeOut(state.pool.cannotStart(UInt64(ticket)))
                }
                for job in refused { job.discard(.failed(error)) }
                return
            }
            // A pool that does not grow has one worker at a time to give.
            if size.minimum == size.maximum, !hasLackedThreads.load(ordering: .relaxed) { return }
            next = state.withLock { state -> Job? in
                guard state.pool.hasNext else { return nil }
                defer { state.show() }
                return state.next()
            }
        }
    }

    package func jobBegins(_ job: Job) {}

    package func jobEnded(_ job: Job, _ outcome: JobOutcome) {
        // Refused.
        if job.seat == 0 { return }
        let (binding, next, isAwaited) = state.withLock { state in
            if job.seat < 0 {
                state.pool.finish()
                if !state.held.isEmpty { state.held[job.id] = nil }
            }
            // The metrics under the lock, too: a shutdown that finds the pool empty finds them complete.
            switch outcome {
            case .finished:
                state.counts.finished += 1
                state.binding?.instruments.finished.increment()
            case .failed:
                state.counts.failed += 1
                state.binding?.instruments.failed.increment()
            case .cancelled:
                state.counts.cancelled += 1
                state.binding?.instruments.cancelled.increment()
            }
            defer { state.show() }
            return (state.binding, state.next(), !state.shutDowns.isEmpty)
        }
        if case .failed(let error) = outcome {
            binding?.backend.logger.debug(
                "pool task failed", metadata: ["pool": "\(name)", "task": "\(job.name)", "error": "\(error)"])
        }
        start(next, binding)
        if isAwaited { announceEnd() }
    }

    package func jobCancelled(_ job: Job) {
        let isOut = state.withLock { state in
            guard job.seat > 0, state.pool.withdraw(UInt64(job.seat)) else { return false }
            state.unstarted[UInt64(job.seat)] = nil
            state.admit(UInt64(job.seat))
            setAlarm(&state)
            state.show()
            return true
        }
        if isOut { job.discard(.cancelled) }
    }

    // MARK: Delays

    private func setAlarm(_ state: inout State) {
        guard state.alarm?.due != state.pool.nextDue else { return }
        state.alarm?.task.cancel()
        state.alarm = nil
        guard let due = state.pool.nextDue, let binding = state.binding else { return }
        let engine = binding.backend.engine
        // A test's clock waits for what its backend's threads have to do.
        let placement = engine.clock is any ManuallyMovedClock ? try? engine.placeJob(named: name) : nil
        let task = Task(executorPreference: placement?.executor ?? engine.sharedExecutor) { [self] in
            placement?.prepare()
            defer { placement?.release() }
            do { try await engine.clock.sleep(until: due) } catch { return }
            submitDue(binding)
        }
        state.alarm = (due, task)
    }

    private func submitDue(_ binding: Binding) {
        var started: [Job] = []
        var rejected: [Job] = []
        state.withLock { state in
            while let due = state.pool.popDue(at: binding.backend.engine.clock.now),
                let job = state.unstarted.removeValue(forKey: due)
            {
                var (admission, ticket) = state.pool.submit()
                if admission == .full, whenFull == .wait {
                    (admission, ticket) = (.queued, state.pool.enqueue().ticket)
                }
                switch admission {
                case .run:
                    job.seat = -Int(ticket)
                    started.append(job)
                case .queued:
                    state.keep(job, as: ticket)
                    if let job = state.next() { started.append(job) }
                case .full:
                    state.counts.rejected += 1
                    rejected.append(job)
                }
            }
            // Most often the one that has called this.
            state.alarm?.task.cancel()
            state.alarm = nil
            setAlarm(&state)
            state.show()
        }
        for job in rejected {
            binding.instruments.rejections.increment()
            job.discard(.failed(WorkPoolError.full(pool: name)))
        }
        for job in started { start(job, binding) }
    }

    // MARK: Shutting down

    /// Refuses new tasks, and waits for those that run, are queued, or wait for their time. A task of the pool that calls
    /// this leaves itself out. At the deadline the rest is cancelled.
    ///
    /// - Parameters:
    ///   - cancelQueued: Whether to cancel what has not started.
    ///   - deadline: The latest end; `nil` for none.
    /// - Throws: `TimeLimitExceeded` when something is left at the deadline; `CancellationError` when the calling task is
    ///   cancelled, which cancels the rest as well.
    public func shutDown(cancelQueued: Bool = false, until deadline: MonotonicInstant? = nil) async throws {
        let end = Completion<Void>()
        let caller = Job.current
        let inside = caller?.isOwned(by: self) == true ? caller?.id : nil
        let (binding, unstarted, next) = state.withLock { state in
            state.isClosed = true
            if let inside { state.held[inside, default: 0] += 1 }
            state.shutDowns.append((end, inside))
            let unstarted = cancelQueued ? state.takeOut(state.pool.withdrawAll()) : []
            if cancelQueued {
                for room in state.rooms.values { room.complete(with: ()) }
                state.rooms = [:]
            }
            setAlarm(&state)
            defer { state.show() }
            return (state.binding, unstarted, state.next())
        }
        defer {
            if let inside {
                state.withLock { state in
                    // Unless the task is over, and a child of it has called this.
                    if let count = state.held[inside] { state.held[inside] = count > 1 ? count - 1 : nil }
                }
            }
        }
        for job in unstarted { job.discard(.cancelled) }
        start(next, binding)
        announceEnd()
        let engine = binding?.backend.engine
        do {
            try await end.wait(
                until: deadline, clock: engine?.clock ?? SystemClock(), operation: "work pool '\(name)'")
        } catch {
            for job in engine?.ledger.jobs ?? [] where job !== caller && job.isOwned(by: self) { job.cancel() }
            throw error
        }
    }

    private func announceEnd() {
        let ends: [Completion<Void>] = state.withLock { state in
            if state.shutDowns.isEmpty { return [] }
            guard state.pool.queueLength == 0, state.pool.delayedCount == 0 else { return [] }
            let (running, held) = (state.pool.running, state.held)
            func isOver(_ task: UInt64?) -> Bool {
                running == (task.map { held[$0] != nil } == true ? held.count : 0)
            }
            let over = state.shutDowns.filter { isOver($0.task) }
            state.shutDowns.removeAll { isOver($0.task) }
            return over.map(\.end)
        }
        for end in ends { end.complete(with: ()) }
    }

    /// What the pool has done and has to do.
    public var statistics: WorkPoolStatistics {
        var statistics = state.withLock { state in
            var counts = state.counts
            counts.workers = state.pool.size
            counts.running = state.pool.running
            counts.queued = state.pool.queueLength
            counts.delayed = state.pool.delayedCount
            return counts
        }
        statistics.queueTime = .nanoseconds(queueNanoseconds.load(ordering: .relaxed))
        statistics.runTime = .nanoseconds(runNanoseconds.load(ordering: .relaxed))
        return statistics
    }
}

extension WorkPool.State {
    fileprivate mutating func keep(_ job: Job, as ticket: UInt64) {
        job.seat = Int(ticket)
        unstarted[ticket] = job
    }

    fileprivate mutating func takeOut(_ tickets: [UInt64]) -> [Job] {
        tickets.compactMap { unstarted.removeValue(forKey: $0) }
    }

    /// Takes the next job for a free worker; when all that run wait for the end of the others, for one more.
    fileprivate mutating func next() -> Job? {
        guard pool.queueLength > 0 else { return nil }
        let isStuck = !held.isEmpty && pool.running == held.count
        guard let ticket = pool.next(beyondLimit: isStuck), let job = unstarted.removeValue(forKey: ticket) else {
            return nil
        }
        job.seat = -Int(ticket)
        admit(ticket)
        return job
    }

    /// Lets the caller go on whose task has left the queue, and the one whose task is within its limit now.
    fileprivate mutating func admit(_ ticket: UInt64) {
        if rooms.isEmpty { return }
        rooms.removeValue(forKey: ticket)?.complete(with: ())
        if let last = pool.lastWithinLimit { rooms.removeValue(forKey: last)?.complete(with: ()) }
    }

    /// Brings the gauges up to date.
    fileprivate mutating func show() {
        guard let instruments = binding?.instruments else { return }
        let now = (
            workers: pool.size, running: pool.running, queued: pool.queueLength, delayed: pool.delayedCount
        )
        if now == shown { return }
        if now.workers != shown.workers { instruments.workers.add(Double(now.workers - shown.workers)) }
        if now.running != shown.running { instruments.running.add(Double(now.running - shown.running)) }
        if now.queued != shown.queued { instruments.queued.add(Double(now.queued - shown.queued)) }
        if now.delayed != shown.delayed { instruments.delayed.add(Double(now.delayed - shown.delayed)) }
        shown = now
    }
}

/// What a work pool has done and has to do, at one moment.
public struct WorkPoolStatistics: Hashable, Sendable {
    /// The tasks that it has taken.
    public internal(set) var submitted = 0
    /// The tasks for which the queue had no room.
    public internal(set) var rejected = 0
    /// The tasks that wait for their time.
    public internal(set) var delayed = 0
    /// The tasks that wait for a worker.
    public internal(set) var queued = 0
    /// The tasks that run.
    public internal(set) var running = 0
    /// The tasks that have returned.
    public internal(set) var finished = 0
    /// The tasks that have thrown.
    public internal(set) var failed = 0
    /// The tasks that were cancelled.
    public internal(set) var cancelled = 0
    /// The workers, with and without a task.
    public internal(set) var workers = 0
    /// For how long all tasks that have started were queued.
    public internal(set) var queueTime = Duration.zero
    /// For how long all tasks that are over have run.
    public internal(set) var runTime = Duration.zero
}

/// Why a work pool refused a task.
public enum WorkPoolError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The queue has as many tasks as it may have.
    case full(pool: String)
    /// The pool was shut down.
    case shutDown(pool: String)
    /// The delay is negative.
    case negativeDelay(pool: String)
    /// The pool has no workers, or its thresholds are the wrong way round.
    case invalid(pool: String)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .full(let pool):
            """
            work pool '\(pool)' is full: its workers are busy, and so is its queue. Raise its limits, or use \
            submit of a pool with whenFull: .wait, which waits for room
            """
        case .shutDown(let pool): "work pool '\(pool)' has been shut down and takes no more tasks"
        case .negativeDelay(let pool): "work pool '\(pool)': the delay of a task must not be negative"
        case .invalid(let pool):
            "work pool '\(pool)' needs at least 1 worker, and a growThreshold above its shrinkThreshold"
        }
    }
}

/// The metrics of one work pool. Pools of one name add up.
struct WorkPoolInstruments: Sendable {
    let workers: GaugeMetric
    let running: GaugeMetric
    let limit: GaugeMetric
    let queued: GaugeMetric
    let delayed: GaugeMetric
    let submissions: CounterMetric
    let rejections: CounterMetric
    let finished: CounterMetric
    let failed: CounterMetric
    let cancelled: CounterMetric
    let queueTime: HistogramMetric
    let runTime: HistogramMetric

    init(registry: MetricRegistry, pool: String, backend: String) throws(MetricError) {
        let names = ["backend", "pool"]
        func gauge(_ name: String, _ help: String) throws(MetricError) -> GaugeMetric {
            let gauge = try registry.gaugeFamily("muster_pool_" + name, help: help, labelNames: names)
                .labels(backend, pool)
            // Exported from the start, without taking away what another pool of this name has.
            gauge.add(0)
            return gauge
        }
        func counter(_ name: String, _ help: String) throws(MetricError) -> CounterMetric {
            try registry.counterFamily("muster_pool_" + name, help: help, labelNames: names).labels(backend, pool)
        }
        func histogram(_ name: String, _ help: String) throws(MetricError) -> HistogramMetric {
            try registry.histogramFamily(
                "muster_pool_" + name, help: help, unit: .seconds, buckets: .preciseSeconds, labelNames: names
            ).labels(backend, pool)
        }
        workers = try gauge("workers", "Workers of the pool: how many tasks may run at a time.")
        running = try gauge("workers_busy", "Workers of the pool that run a task.")
        limit = try gauge("workers_limit", "The most workers that the pool may have.")
        queued = try gauge("queue_length", "Tasks that wait for a worker of the pool.")
        delayed = try gauge("delayed_tasks", "Tasks of the pool that wait for their time.")
        submissions = try counter("submissions_total", "Tasks that the pool has taken.")
        rejections = try counter("rejections_total", "Tasks for which the pool had no room.")
        let tasks = try registry.counterFamily(
            "muster_pool_tasks_total", help: "Tasks of the pool that are over, by outcome.",
            labelNames: names + ["outcome"])
        finished = tasks.labels(backend, pool, "finished")
        failed = tasks.labels(backend, pool, "failed")
        cancelled = tasks.labels(backend, pool, "cancelled")
        queueTime = try histogram("task_queue_seconds", "How long tasks waited for a worker of the pool.")
        runTime = try histogram("task_run_seconds", "How long tasks of the pool ran.")
    }
}
