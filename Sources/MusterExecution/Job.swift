// SPDX-License-Identifier: Apache-2.0

public import MusterMetrics
public import MusterPlatform
import Synchronization

/// One unit of concurrent work: a Swift task on the thread or threads of an engine.
///
/// Sound as `@unchecked Sendable`: it and its subclass, in this file, have constants and locked state.
public class Job: @unchecked Sendable {
    private struct State {
        var phase = JobState.queued
        var isCancelled = false
        var task: Task<Void, Never>?
    }

    /// A number that no other job of the process has.
    public let id: UInt64
    /// The name given when it was spawned.
    public let name: String
    /// The group it was spawned for.
    package let group: String?

    private let ledger: JobLedger
    private let life = Locked(State())
    private let completion = Completion<JobOutcome>()

    init(name: String, group: String?, ledger: JobLedger) {
        id = JobLedger.lastIdentifier.wrappingAdd(1, ordering: .relaxed).newValue
        self.name = name
        self.group = group
        self.ledger = ledger
    }

    /// The job whose code is running: also in its child tasks and in `Task {}`s that it started.
    @TaskLocal public static var current: Job?

    /// Where the job is in its life.
    package var state: JobState { life.withLock { $0.phase } }

    /// How the job ended, once it has.
    public var outcome: JobOutcome? { completion.value }

    /// Asks the job to end: its task is cancelled, which ends every sleep and wait of the runtime in it. The body of
    /// a job that has not started never runs.
    public func cancel() {
        let task: Task<Void, Never>? = life.withLock { state in
            guard !state.isCancelled, state.phase != .finished else { return nil }
            state.isCancelled = true
            // Under this lock, as every move is: the ledger hears of a job's moves in their order.
            ledger.moved(from: state.phase, to: .stopping)
            state.phase = .stopping
            return state.task
        }
        task?.cancel()
    }

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
        try await completion.wait(until: deadline, clock: clock, operation: "job '\(name)'")
    }

    /// Runs a closure when the job is over, on the thread it ended on; at once when it is over already.
    ///
    /// The thread may have been promised to another job by then, so the closure should be brief.
    public func link(_ callback: @escaping @Sendable (JobOutcome) -> Void) {
        completion.whenComplete(callback)
    }

    /// Takes up the job's task; cancels it when that was asked for in the meantime.
    func adopt(_ task: Task<Void, Never>) {
        let isCancelled = life.withLock { state in
            if state.phase != .finished { state.task = task }
            return state.isCancelled
        }
        if isCancelled { task.cancel() }
    }

    /// Runs the body.
    ///
    /// - Parameters:
    ///   - body: What the job does.
    ///   - release: Gives back the job's place. Called when the body is over and before anyone hears of it, so that
    ///     whoever waited for the end can have the place.
    fileprivate func run(_ body: () async throws -> Void, release: @Sendable () -> Void) async {
        let hasStarted = life.withLock { state in
            guard state.phase == .queued else { return false }
            ledger.moved(from: .queued, to: .running)
            state.phase = .running
            return true
        }
        var outcome = JobOutcome.finished
        do {
            guard hasStarted else { throw CancellationError() }
            try await body()
        } catch is CancellationError where life.withLock({ $0.isCancelled }) {
            outcome = .cancelled
        } catch {
            outcome = .failed(error)
        }
        release()
        let waiting = life.withLock { state in
            defer {
                state.phase = .finished
                state.task = nil
            }
            return ledger.ended(self, from: state.phase, outcome: outcome)
        }
        completion.complete(with: outcome)
        for completion in waiting { completion.complete(with: ()) }
    }
}

/// A job with the value that its body returns.
///
/// Sound as `@unchecked Sendable` for its superclass' reason.
public final class ResultJob<Value: Sendable>: Job, @unchecked Sendable {
    private let value = Locked<Value?>(nil)

    /// Waits until the job is over.
    ///
    /// - Parameter deadline: The latest instant; `nil` waits without end.
    /// - Returns: What the body returned.
    /// - Throws: What the body threw; `CancellationError` when the job, or the waiting task, was cancelled;
    ///   ``TimeLimitExceeded`` at the deadline.
    public func result(until deadline: MonotonicInstant? = nil) async throws -> Value {
        if case .failed(let error) = try await wait(until: deadline) { throw error }
        guard let value = value.withLock({ $0 }) else { throw CancellationError() }
        return value
    }

    func run(_ body: @Sendable () async throws -> Value, release: @Sendable () -> Void) async {
        await super.run(
            {
                let result = try await body()
                value.withLock { $0 = result }
            }, release: release)
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

/// The jobs alive in one engine.
public final class JobLedger: Sendable {
    fileprivate struct State {
        var alive: [UInt64: Job] = [:]
        var queued = 0
        var running = 0
        var stopping = 0
        var isClosed = false
        var emptied: [Completion<Void>] = []
    }

    fileprivate static let lastIdentifier = Atomic<UInt64>(0)

    private let state = Locked(State())
    private let instruments: JobInstruments

    /// Creates an empty ledger that keeps the metrics of a backend's jobs up to date.
    ///
    /// - Throws: `MetricError` when the application has taken the name of one of them.
    public convenience init(backend: String, metrics: MetricRegistry) throws(MetricError) {
        self.init(instruments: try JobInstruments(registry: metrics, backend: backend))
    }

    package init(instruments: JobInstruments) {
        self.instruments = instruments
    }

    /// Enters a new job.
    ///
    /// - Returns: `false` when the ledger is closed.
    func open(_ job: Job) -> Bool {
        state.withLock { state in
            guard !state.isClosed else { return false }
            state.alive[job.id] = job
            state.queued += 1
            instruments.jobs.increment()
            instruments.alive(.queued).increment()
            return true
        }
    }

    /// Takes note of a job's move. The gauges change under the lock too, or one could be taken down before it was
    /// put up.
    func moved(from: JobState, to: JobState) {
        state.withLock { state in
            state[from] -= 1
            state[to] += 1
            instruments.alive(to).increment()
            instruments.alive(from).decrement()
        }
    }

    /// Strikes a job out.
    ///
    /// - Returns: The events that happen with the end of the last job, to be completed after the job's own.
    func ended(_ job: Job, from last: JobState, outcome: JobOutcome) -> [Completion<Void>] {
        if case .failed = outcome { instruments.failures.increment() }
        return state.withLock { state in
            state[last] -= 1
            instruments.alive(last).decrement()
            state.alive[job.id] = nil
            guard state.alive.isEmpty else { return [] }
            defer { state.emptied = [] }
            return state.emptied
        }
    }

    /// Whether new jobs are refused.
    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// The number of jobs by state.
    package var census: Census {
        state.withLock { Census(queued: $0.queued, running: $0.running, stopping: $0.stopping) }
    }

    /// The jobs alive, in no order.
    package var jobs: [Job] { state.withLock { Array($0.alive.values) } }

    /// Refuses new jobs from now on and cancels the present ones.
    ///
    /// - Returns: An event that happens when the last of them is over, after that job's own end was announced.
    package func close() -> Completion<Void> {
        let completion = Completion<Void>()
        let jobs = state.withLock { state in
            state.isClosed = true
            if !state.alive.isEmpty { state.emptied.append(completion) }
            return Array(state.alive.values)
        }
        if jobs.isEmpty { completion.complete(with: ()) }
        for job in jobs { job.cancel() }
        return completion
    }
}

extension JobLedger.State {
    fileprivate subscript(_ state: JobState) -> Int {
        get {
            switch state {
            case .queued: queued
            case .running: running
            case .stopping: stopping
            case .finished: 0
            }
        }
        set {
            switch state {
            case .queued: queued = newValue
            case .running: running = newValue
            case .stopping: stopping = newValue
            case .finished: break
            }
        }
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
    private let queued: GaugeMetric
    private let running: GaugeMetric
    private let stopping: GaugeMetric

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

    func alive(_ state: JobState) -> GaugeMetric {
        switch state {
        case .queued: queued
        case .running: running
        case .stopping, .finished: stopping
        }
    }
}
