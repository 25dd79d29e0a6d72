// SPDX-License-Identifier: Apache-2.0

import MusterLock
public import MusterMetrics
public import MusterPlatform
import Synchronization

/// One unit of concurrent work: a Swift task on the thread or threads of an engine.
///
/// Sound as `@unchecked Sendable`: it and its subclass, in this file, have constants, and state under the ledger's lock.
public class Job: @unchecked Sendable {
    fileprivate struct Life {
        var phase = JobState.queued
        var isCancelled = false
        /// Whether it waits for its owner to start it.
        var isUnstarted: Bool
        var task: Task<Void, Never>?
        var outcome: JobOutcome?
        var owner: (any JobOwner)?
        /// The end as an event, once somebody has asked for it.
        var ending: Completion<JobOutcome>?
        /// The neighbours among the jobs alive.
        var next: Job?
        unowned(unsafe) var previous: Job?
    }

    /// A number that no other job of the process has.
    public let id: UInt64
    /// The name given when it was spawned.
    public let name: String
    /// The group it was spawned for.
    package let group: String?
    /// When it was spawned, to some milliseconds.
    package let spawnedAt = MonotonicInstant.coarse

    fileprivate let ledger: JobLedger
    /// Under the ledger's lock.
    fileprivate var life: Life
    /// Where its owner keeps it; the owner's.
    package var seat = 0

    fileprivate init(name: String, group: String?, owner: (any JobOwner)?, ledger: JobLedger, isUnstarted: Bool) {
        id = JobLedger.lastIdentifier.wrappingAdd(1, ordering: .relaxed).newValue
        self.name = name
        self.group = group
        self.ledger = ledger
        life = Life(isUnstarted: isUnstarted, owner: owner)
    }

    /// The job whose code is running: also in its child tasks and in `Task {}`s that it started.
    @TaskLocal public static var current: Job?

    /// The loop that it was placed on; `nil` where an engine of the application's own has placed it elsewhere.
    package var loop: EventLoop? { nil }

    /// Where the job is in its life.
    package var state: JobState { ledger.withLock { _ in life.phase } }

    /// How the job ended, once it has.
    public var outcome: JobOutcome? { ledger.withLock { _ in life.outcome } }

    /// Asks the job to end: its task is cancelled, which ends every sleep and wait of the runtime in it. The body of
    /// a job that has not started never runs.
    public func cancel() {
        let (task, owner): (Task<Void, Never>?, (any JobOwner)?) = ledger.withLock { ledger in
            guard !life.isCancelled, life.phase != .finished else { return (nil, nil) }
            life.isCancelled = true
            ledger.move(self, to: .stopping)
            return (life.task, life.isUnstarted ? life.owner : nil)
        }
        task?.cancel()
        owner?.jobCancelled(self)
    }

    /// Whether an owner keeps account of the job, which is not over.
    package func isOwned(by owner: any JobOwner) -> Bool { ledger.withLock { _ in life.owner === owner } }

    /// Starts a job that was prepared, unless it has been cancelled; then it ends where it would have run.
    package func start(on placement: EngineExecutor) {}

    /// Ends a job that was prepared and is not started.
    package func discard(_ outcome: JobOutcome) { end(outcome) }

    /// Waits until the job is over.
    ///
    /// - Parameter deadline: The latest instant; `nil` waits without end.
    /// - Throws: ``TimeLimitExceeded`` at the deadline; `CancellationError` when the waiting task is cancelled.
    @discardableResult
    public func wait(until deadline: MonotonicInstant? = nil) async throws -> JobOutcome {
        try await wait(until: deadline, clock: SystemClock())
    }

    @discardableResult
    package func wait(until deadline: MonotonicInstant?, clock: any RuntimeClock) async throws -> JobOutcome {
        try await ending.wait(until: deadline, clock: clock, operation: "job '\(name)'")
    }

    /// Runs a closure when the job is over, on the thread it ended on; at once when it is over already.
    ///
    /// The thread may have been promised to another job by then, so the closure should be brief.
    public func link(_ callback: @escaping @Sendable (JobOutcome) -> Void) {
        ending.whenComplete(callback)
    }

    private var ending: Completion<JobOutcome> {
        let (ending, outcome): (Completion<JobOutcome>, JobOutcome?) = ledger.withLock { _ in
            // The job's own end announces it.
            if let ending = life.ending { return (ending, nil) }
            let ending = Completion<JobOutcome>()
            life.ending = ending
            return (ending, life.outcome)
        }
        if let outcome { ending.complete(with: outcome) }
        return ending
    }

    /// Takes up the job's task; cancels it when that was asked for in the meantime.
    func adopt(_ task: Task<Void, Never>) {
        let isCancelled = ledger.withLock { _ in
            if life.phase != .finished { life.task = task }
            life.isUnstarted = false
            return life.isCancelled
        }
        if isCancelled { task.cancel() }
    }

    /// Enters the job as running. Returns whether its body is to run.
    fileprivate func begin() -> Bool {
        ledger.withLock { ledger in
            guard life.phase == .queued else { return false }
            ledger.move(self, to: .running)
            return true
        }
    }

    fileprivate func outcome(of error: any Error) -> JobOutcome {
        error is CancellationError && ledger.withLock({ _ in life.isCancelled }) ? .cancelled : .failed(error)
    }

    fileprivate func end(_ outcome: JobOutcome) {
        let (owner, ending, waiting) = ledger.withLock { ledger in
            life.task = nil
            life.outcome = outcome
            return (life.owner.take(), life.ending, ledger.remove(self, outcome: outcome))
        }
        owner?.jobEnded(self, outcome)
        ending?.complete(with: outcome)
        for completion in waiting { completion.complete(with: ()) }
    }
}

/// What keeps account of jobs: a thread group of its threads. A job holds its owner until its end.
package protocol JobOwner: AnyObject, Sendable {
    /// A job counts as alive from now on; its body has not begun, and does not if this cancels it.
    func jobBegins(_ job: Job)
    /// A job no longer counts as alive. Nobody who has waited for its end has heard of it yet; who asks now may have.
    func jobEnded(_ job: Job, _ outcome: JobOutcome)
    /// A job that it has not started was cancelled.
    func jobCancelled(_ job: Job)
}

extension JobOwner {
    package func jobCancelled(_ job: Job) {}
}

/// A job with the value that its body returns.
///
/// Sound as `@unchecked Sendable` for its superclass' reason; the rest belongs to its task until its end, and before to the owner that starts it.
public final class ResultJob<Value: Sendable>: Job, @unchecked Sendable {
    private var placement: EngineExecutor?
    private var body: (@Sendable () async throws -> Value)?
    /// What the body returned. Of no type of its own: that of an optional `Value` would be looked up for each job.
    private var value: (any Sendable)?

    init(
        name: String, group: String?, owner: (any JobOwner)?, ledger: JobLedger, placement: EngineExecutor?,
        _ body: @escaping @Sendable () async throws -> Value
    ) {
        self.placement = placement
        self.body = body
        super.init(name: name, group: group, owner: owner, ledger: ledger, isUnstarted: placement == nil)
    }

    /// Its owner has placed it before it counts as started.
    package override var loop: EventLoop? {
        ledger.withLock { _ in life.isUnstarted ? nil : placement?.executor as? EventLoop }
    }

    /// Waits until the job is over.
    ///
    /// - Parameter deadline: The latest instant; `nil` waits without end.
    /// - Returns: What the body returned.
    /// - Throws: What the body threw; `CancellationError` when the job, or the waiting task, was cancelled;
    ///   ``TimeLimitExceeded`` at the deadline.
    public func result(until deadline: MonotonicInstant? = nil) async throws -> Value {
        if case .failed(let error) = try await wait(until: deadline) { throw error }
        guard let value = value as? Value else { throw CancellationError() }
        return value
    }

    package override func start(on placement: EngineExecutor) {
        self.placement = placement
        run(on: placement.executor)
    }

    /// Makes the job's task, which takes ``Job/current`` over from here: binding it there would cost it four changes of
    /// executor.
    func run(on executor: any TaskExecutor, atOnce: Bool = false) {
        let task = Job.$current.withValue(self) {
            atOnce
                ? Task.immediate(executorPreference: executor) { await self.main() }
                : Task(name: name, executorPreference: executor) { await self.main() }
        }
        adopt(task)
    }

    package override func discard(_ outcome: JobOutcome) {
        body = nil
        super.discard(outcome)
    }

    /// What the job's task does.
    private func main() async {
        placement?.prepare()
        var outcome = JobOutcome.finished
        do {
            guard let body = body.take(), begin() else { throw CancellationError() }
            value = try await body()
        } catch {
            outcome = self.outcome(of: error)
        }
        // Before anyone hears of the end, so that whoever waits for it can have the place.
        placement?.release()
        end(outcome)
    }
}

/// How a job ended.
public enum JobOutcome: Sendable {
    /// The body returned.
    case finished
    /// The body threw, and not because it was cancelled.
    case failed(any Error)
    /// The job was cancelled, and its body ended with `CancellationError`.
    case cancelled

    /// The error of a failed job.
    package var error: (any Error)? {
        if case .failed(let error) = self { error } else { nil }
    }
}

/// Where a job is in its life.
package enum JobState: String, Hashable, Sendable, CaseIterable {
    /// Spawned, its first line has not run yet.
    case queued
    /// Started and not finished: running or suspended at an `await`.
    case running
    /// Asked to cancel and not finished.
    case stopping
    /// Over; its outcome is known.
    case finished
}

/// The jobs alive in one engine, and the lock that their states are under.
public final class JobLedger: Sendable {
    fileprivate struct State {
        let instruments: JobInstruments
        /// The ends of the list of the jobs alive.
        private(set) var first: Job?
        private unowned(unsafe) var last: Job?
        private var queued = 0
        private var running = 0
        private var stopping = 0
        var isClosed = false
        var emptied: [Completion<Void>] = []

        init(instruments: JobInstruments) {
            self.instruments = instruments
        }

        var census: Census { Census(queued: queued, running: running, stopping: stopping) }

        /// The jobs alive, the oldest first.
        var jobs: [Job] {
            var jobs: [Job] = []
            var next = first
            while let job = next {
                jobs.append(job)
                next = job.life.next
            }
            return jobs
        }

        mutating func append(_ job: Job) {
            job.life.previous = last
            if let last { last.life.next = job } else { first = job }
            last = job
            instruments.jobs.increment()
            count(job.life.phase, by: 1)
        }

        mutating func move(_ job: Job, to phase: JobState) {
            count(phase, by: 1)
            count(job.life.phase, by: -1)
            job.life.phase = phase
        }

        /// Strikes a job out.
        ///
        /// - Returns: The events that happen with the end of the last job, to be completed after the job's own.
        mutating func remove(_ job: Job, outcome: JobOutcome) -> [Completion<Void>] {
            if case .failed = outcome { instruments.failures.increment() }
            count(job.life.phase, by: -1)
            job.life.phase = .finished
            let next = job.life.next
            let previous = job.life.previous
            job.life.next = nil
            if let previous { previous.life.next = next } else { first = next }
            if let next { next.life.previous = previous } else { last = previous }
            guard first == nil else { return [] }
            defer { emptied = [] }
            return emptied
        }

        /// The gauges change under the lock too, or one could be taken down before it was put up.
        private mutating func count(_ phase: JobState, by difference: Int) {
            switch phase {
            case .queued:
                queued += difference
                instruments.queued.add(Double(difference))
            case .running:
                running += difference
                instruments.running.add(Double(difference))
            case .stopping:
                stopping += difference
                instruments.stopping.add(Double(difference))
            case .finished: break
            }
        }
    }

    fileprivate static let lastIdentifier = Atomic<UInt64>(0)

    private let state: Locked<State>

    /// As the state has it, for those who ask before they have a job.
    private let hasClosed = Atomic<Bool>(false)

    /// Creates an empty ledger that keeps the metrics of a backend's jobs up to date.
    ///
    /// - Throws: `MetricError` when the application has taken the name of one of them.
    public convenience init(backend: String, metrics: MetricRegistry) throws(MetricError) {
        self.init(instruments: try JobInstruments(registry: metrics, backend: backend))
    }

    package init(instruments: JobInstruments) {
        state = Locked(State(instruments: instruments))
    }

    @inline(__always)
    fileprivate func withLock<Result>(_ body: (inout State) -> sending Result) -> sending Result {
        state.withLock(body)
    }

    /// Enters a new job.
    ///
    /// - Returns: `false` when the ledger is closed.
    func open(_ job: Job) -> Bool {
        state.withLock { state in
            guard !state.isClosed else { return false }
            state.append(job)
            return true
        }
    }

    /// Whether new jobs are refused.
    package var isClosed: Bool { hasClosed.load(ordering: .relaxed) }

    /// The number of jobs by state.
    package var census: Census { state.withLock { $0.census } }

    /// The jobs alive, the oldest first.
    package var jobs: [Job] { state.withLock { $0.jobs } }

    /// Refuses new jobs from now on and cancels the present ones.
    ///
    /// - Returns: An event that happens when the last of them is over, after that job's own end was announced.
    package func close() -> Completion<Void> {
        let completion = Completion<Void>()
        let jobs = state.withLock { state in
            state.isClosed = true
            hasClosed.store(true, ordering: .relaxed)
            let jobs = state.jobs
            if !jobs.isEmpty { state.emptied.append(completion) }
            return jobs
        }
        if jobs.isEmpty { completion.complete(with: ()) }
        for job in jobs { job.cancel() }
        return completion
    }
}

/// What is alive in an engine at one moment.
package struct Census: Hashable, Sendable {
    /// Jobs spawned and not started.
    package var queued: Int
    /// Jobs started and not finished.
    package var running: Int
    /// Jobs asked to cancel and not finished.
    package var stopping: Int
    /// Native threads that the engine holds.
    package var nativeThreads: Int

    package init(queued: Int = 0, running: Int = 0, stopping: Int = 0, nativeThreads: Int = 0) {
        self.queued = queued
        self.running = running
        self.stopping = stopping
        self.nativeThreads = nativeThreads
    }

    /// All jobs alive.
    package var jobs: Int { queued + running + stopping }
}

/// The metrics of an engine's jobs.
package struct JobInstruments: Sendable {
    let jobs: CounterMetric
    let failures: CounterMetric
    fileprivate let queued: GaugeMetric
    fileprivate let running: GaugeMetric
    fileprivate let stopping: GaugeMetric

    /// Registers the metrics.
    ///
    /// - Parameters:
    ///   - registry: Where to register them.
    ///   - backend: The value of the label `backend`.
    /// - Throws: `MetricError` when the application has taken one of the names for something else.
    package init(registry: MetricRegistry, backend: String) throws(MetricError) {
        jobs = try registry.counterFamily(
            "muster_jobs_total", help: "Jobs spawned.", labelNames: ["backend"]
        ).labels(backend)
        failures = try registry.counterFamily(
            "muster_job_failures_total", help: "Jobs that ended with an error.", labelNames: ["backend"]
        ).labels(backend)
        let alive = try registry.gaugeFamily(
            "muster_worker_jobs", help: "Jobs alive, by state.", labelNames: ["backend", "state"])
        queued = alive.labels(backend, JobState.queued.rawValue)
        running = alive.labels(backend, JobState.running.rawValue)
        stopping = alive.labels(backend, JobState.stopping.rawValue)
        // Exported from the start, without taking away what another engine of this name has counted.
        for gauge in [queued, running, stopping] { gauge.add(0) }
    }
}
