// SPDX-License-Identifier: Apache-2.0

import Logging
public import MusterExecution
import MusterLock
import MusterMetrics
public import MusterPlatform

/// Threads and timers that belong together: added one by one, stopped and awaited as one.
///
/// A *thread* is a job of the backend: a native thread on the threading backend, a task of the hub on the
/// cooperative one. A *timer* is a looping call. Errors of both are logged and counted, and can be had from the
/// handles.
///
/// A job may use its own group at any time. Waiting for the group, or stopping it, from inside leaves out the jobs
/// that do so; from outside, all are waited for.
public final class ThreadGroup: Sendable, BackendComponent, JobOwner {
    fileprivate struct State {
        var members: ThreadGroupState
        /// The jobs of its threads and timers, each at its seat.
        var jobs: [Job?] = []
        var freeSeats: [Int] = []
        var timers = TimerList()
        /// The timers that run by their jobs, listed or not.
        var running: [UInt64: LoopingCall] = [:]
        var tickets: [UInt64: Completion<Void>] = [:]
        var binding: Binding?
        /// The callers of the ungraceful stops under way; what comes in meanwhile, unless it is the caller, is
        /// cancelled at once.
        var stops: [UInt64?] = []
        /// How many stops of the timers are under way, graceful ones too; a timer that comes in meanwhile is stopped.
        var timerStops = 0
    }

    /// A class, as a copy of so many metrics would count as many references.
    fileprivate final class Binding: Sendable {
        let backend: Backend
        let instruments: ThreadGroupInstruments

        init(backend: Backend, instruments: ThreadGroupInstruments) {
            self.backend = backend
            self.instruments = instruments
        }
    }

    /// The group's name, the value of the label `group`.
    public let name: String
    /// The most threads alive at a time; timers do not count.
    package let capacity: Int

    private let whenFull: WhenFull
    private let chosenBackend: Backend?
    private let isNone: Bool
    private let state: Locked<State>

    /// Creates an empty group.
    ///
    /// - Parameters:
    ///   - name: The group's name, for logs and metrics.
    ///   - capacity: The most threads alive at a time; timers do not count.
    ///   - whenFull: What happens to a thread for which there is no room.
    ///   - backend: The backend to run on; the selected one, asked for at the first use, when `nil`.
    public convenience init(
        name: String, capacity: Int = 1000, whenFull: WhenFull = .wait, backend: Backend? = nil
    ) {
        self.init(name: name, capacity: max(1, capacity), whenFull: whenFull, backend: backend, isNone: false)
    }

    private init(name: String, capacity: Int, whenFull: WhenFull, backend: Backend?, isNone: Bool) {
        self.name = name
        self.capacity = capacity
        self.whenFull = whenFull
        self.isNone = isNone
        chosenBackend = backend
        state = Locked(State(members: ThreadGroupState(capacity: capacity)))
    }

    /// The group of services that have none: always empty, and refuses what is added.
    public static let none = ThreadGroup(name: "none", capacity: 0, whenFull: .reject, backend: nil, isNone: true)

    deinit {
        // Nobody is in it any more: its threads and timers hold it.
        if let binding = state.withLock({ $0.binding }) { binding.instruments.limit.add(-Double(capacity)) }
    }

    private func bind() throws -> Binding {
        if isNone { throw ThreadGroupError.none }
        if let binding = state.withLock({ $0.binding }) { return binding }
        let backend = try chosenBackend ?? Backend.current
        backend.tracing.refresh()
        let made = Binding(
            backend: backend,
            instruments: try ThreadGroupInstruments(
                registry: backend.metrics, group: name, backend: backend.type.rawValue))
        let (binding, isFirst) = state.withLock { state in
            if let binding = state.binding { return (binding, false) }
            state.binding = made
            return (made, true)
        }
        if isFirst {
            made.instruments.limit.add(Double(capacity))
            for gauge in [made.instruments.threads, made.instruments.timers, made.instruments.queueLength] {
                gauge.add(0)
            }
        }
        return binding
    }

    private var clock: any RuntimeClock {
        (state.withLock { $0.binding?.backend } ?? chosenBackend)?.engine.clock ?? SystemClock()
    }

    // MARK: Threads

    /// The threads alive, the oldest first.
    public var threads: [Job] {
        state.withLock { state in
            state.alive.filter { state.running[$0.id] == nil }.sorted { $0.id < $1.id }
        }
    }

    /// Adds a thread. In a full group, waits for room or throws, as the group was created. What the body returns is to be
    /// had with `ResultJob/result(until:)`.
    ///
    /// - Throws: ``ThreadGroupError``; `EngineError` when the backend has no thread; `CancellationError` when the
    ///   calling task is cancelled while it waits; what selecting the backend throws.
    @discardableResult
    public func addThread<Value: Sendable>(
        name: String, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> ResultJob<Value> {
        if whenFull == .reject { return try tryAddThread(name: name, body) }
        let binding = try bind()
        try await waitForRoom(binding)
        return try enter(name: name, binding: binding, body)
    }

    /// Adds a thread if there is room for it now.
    ///
    /// - Throws: ``ThreadGroupError/full(group:capacity:)``; `EngineError` when the backend has no thread; what
    ///   selecting the backend throws.
    @discardableResult
    public func tryAddThread<Value: Sendable>(
        name: String, _ body: @escaping @Sendable () async throws -> Value
    ) throws -> ResultJob<Value> {
        let binding = try bind()
        guard state.withLock({ $0.members.admit() }) else {
            binding.instruments.rejections.increment()
            throw ThreadGroupError.full(group: self.name, capacity: capacity)
        }
        return try enter(name: name, binding: binding, body)
    }

    private func waitForRoom(_ binding: Binding) async throws {
        let room = Completion<Void>()
        let (ticket, released): (UInt64?, [Completion<Void>]) = state.withLock { state in
            if state.members.admit() { return (nil, []) }
            let (ticket, released) = state.members.enqueue(by: caller)
            state.tickets[ticket] = room
            return (ticket, state.take(released))
        }
        guard let ticket else { return }
        wake(released)
        let since = clock.now
        binding.instruments.queueLength.increment()
        defer {
            binding.instruments.queueLength.decrement()
            binding.instruments.queueTime.observe(since.duration(to: clock.now).inSeconds)
        }
        do {
            try await room.wait()
        } catch {
            wake(
                state.withLock { state in
                    state.tickets[ticket] = nil
                    return state.take(state.members.abandon(ticket))
                })
            throw error
        }
    }

    /// Starts a thread for which there is room.
    private func enter<Value: Sendable>(
        name: String, binding: Binding, _ body: @escaping @Sendable () async throws -> Value
    ) throws -> ResultJob<Value> {
        do {
            let body = binding.backend.tracing.isOn ? traced(name, binding.backend, body) : body
            return try binding.backend.engine.spawn(name: name, group: self.name, owner: self, body)
        } catch {
            wake(state.withLock { state in state.take(state.members.giveBack()) })
            throw error
        }
    }

    private func traced<Value: Sendable>(
        _ name: String, _ backend: Backend, _ body: @escaping @Sendable () async throws -> Value
    ) -> @Sendable () async throws -> Value {
        let attributes = [
            "muster.group": self.name, "muster.backend": backend.type.rawValue, "thread.name": name,
        ]
        return {
            let span = RuntimeSpan(name, attributes: attributes)
            do {
                let value = try await RuntimeSpan.within(span, body)
                span.end()
                return value
            } catch {
                span.end(error)
                throw error
            }
        }
    }

    package func jobBegins(_ job: Job) {
        let (binding, mustCancel, released) = state.withLock { state in
            state.seat(job)
            return (state.binding, state.mustCancel(job), state.take(state.members.threadEntered()))
        }
        binding?.instruments.tasks.increment()
        binding?.instruments.threads.increment()
        if mustCancel { job.cancel() }
        wake(released)
    }

    package func jobEnded(_ job: Job, _ outcome: JobOutcome) {
        let (binding, released) = state.withLock { state in
            state.unseat(job)
            return (state.binding, state.take(state.members.left(thread: job.id)))
        }
        binding?.instruments.threads.decrement()
        if case .failed(let error) = outcome {
            binding?.instruments.failures.increment()
            binding?.backend.logger.error(
                "thread failed", metadata: ["group": "\(name)", "thread": "\(job.name)", "error": "\(error)"])
        }
        wake(released)
    }

    /// The calling job. Under the lock, so that a thread which is still the group's is still counted, too.
    private var caller: ThreadGroupState.Caller? {
        Job.current.map { .init(job: $0.id, isThread: $0.isOwned(by: self)) }
    }

    private func wake(_ completions: [Completion<Void>]) {
        for completion in completions { completion.complete(with: ()) }
    }

    // MARK: Timers

    /// The timers: those that run, and those that have ended and were not taken off with ``removeTimer(_:)``, of which
    /// at least the last 64 are kept.
    public var timers: [LoopingCall] { state.withLock { $0.timers.inOrder } }

    /// Adds a timer that calls a function on a fixed grid, and starts it.
    ///
    /// - Parameters:
    ///   - name: The timer's name, the label `loop` of its metrics.
    ///   - interval: The time between two starts.
    ///   - initialDelay: The time before the first run.
    ///   - tolerance: How late a run may begin so that it shares a waking with neighbours; `nil` for a thousandth of the interval,
    ///     1 ms at most.
    ///   - stopsOnError: Whether an error of the function ends the timer.
    ///   - overrun: What happens after a run that has lasted beyond the next start.
    ///   - stallLimit: How long a run may be overdue before the process counts as stuck; `nil` for as long as it takes.
    ///   - function: What to call.
    /// - Throws: `LoopingCallError`; `EngineError` when the backend has no thread; what selecting it throws.
    @discardableResult
    public func addTimer(
        name: String, interval: Duration, initialDelay: Duration = .zero, tolerance: Duration? = nil,
        stopsOnError: Bool = true, overrun: OverrunPolicy = .delay, stallLimit: Duration? = nil,
        _ function: @escaping @Sendable () async throws -> Void
    ) throws -> FixedIntervalLoopingCall {
        let binding = try bind()
        let timer = FixedIntervalLoopingCall(
            name: name, overrun: overrun, stallLimit: stallLimit, backend: binding.backend, function)
        try timer.start(
            interval: interval, initialDelay: initialDelay, tolerance: tolerance, stopsOnError: stopsOnError,
            in: self)
        list(timer)
        return timer
    }

    /// Adds a timer whose function says each time how long to wait before the next call, and starts it.
    ///
    /// - Parameters:
    ///   - name: The timer's name, the label `loop` of its metrics.
    ///   - initialDelay: The time before the first run.
    ///   - maximumInterval: The longest delay, and the one taken when the function returns `nil`.
    ///   - tolerance: How late a run may begin so that it shares a waking with neighbours; `nil` for a thousandth of the delay,
    ///     1 ms at most.
    ///   - stopsOnError: Whether an error of the function ends the timer.
    ///   - stallLimit: How long a run may last before the process counts as stuck; `nil` for as long as it takes.
    ///   - function: What to call.
    /// - Throws: `LoopingCallError`; `EngineError` when the backend has no thread; what selecting it throws.
    @discardableResult
    public func addDynamicTimer(
        name: String, initialDelay: Duration = .zero, maximumInterval: Duration? = nil, tolerance: Duration? = nil,
        stopsOnError: Bool = true, stallLimit: Duration? = nil,
        _ function: @escaping @Sendable () async throws -> Duration?
    ) throws -> DynamicLoopingCall {
        let binding = try bind()
        let timer = DynamicLoopingCall(name: name, stallLimit: stallLimit, backend: binding.backend, function)
        try timer.start(
            initialDelay: initialDelay, maximumInterval: maximumInterval, tolerance: tolerance,
            stopsOnError: stopsOnError, in: self)
        list(timer)
        return timer
    }

    /// Adds a periodic task, and starts it, as a timer of the group.
    ///
    /// - Returns: Its loop; `nil` if this process does not run it, because it is another slot's, external, or not enabled.
    /// - Throws: ``PeriodicTaskError``; `EngineError` when the backend has no thread; what selecting it throws.
    @discardableResult
    public func addPeriodicTask(_ task: PeriodicTask) throws -> LoopingCall? {
        try addPeriodicTasks([task]).first
    }

    /// Adds periodic tasks, and starts them, as timers of the group.
    ///
    /// - Parameters:
    ///   - tasks: The tasks.
    ///   - concurrency: How many of them run at a time, while the others wait in their order; as many as are due when
    ///     `nil`. One never overlaps itself.
    /// - Returns: The loops of those that this process runs.
    /// - Throws: ``PeriodicTaskError``; `EngineError` when the backend has no thread; what selecting it throws.
    @discardableResult
    public func addPeriodicTasks(_ tasks: [PeriodicTask], concurrency: Int? = nil) throws -> [LoopingCall] {
        let binding = try bind()
        for task in tasks { try task.validate() }
        let limit = concurrency.map { RunLimit($0) }
        return try tasks.filter { $0.isMeant(for: binding.backend) }.map { task in
            task.describe(on: binding.backend)
            let timer = PeriodicLoopingCall(task, in: name, backend: binding.backend)
            try timer.start(limit: limit, in: self)
            list(timer)
            return timer
        }
    }

    /// Starts the job of one of the group's timers.
    func enter(_ timer: LoopingCall, _ body: @escaping @Sendable () async throws -> Void) throws -> Job {
        let binding = try bind()
        let job = try binding.backend.engine.spawn(name: timer.name, group: name, body)
        binding.instruments.timers.increment()
        let (mustCancel, mustStop, released) = state.withLock { state in
            state.seat(job)
            state.running[job.id] = timer
            let released = state.take(state.members.entered(timer: job.id))
            return (state.mustCancel(job), state.timerStops > 0, released)
        }
        if mustCancel { job.cancel() }
        if mustStop { timer.stop() }
        wake(released)
        job.link { [self] _ in
            binding.instruments.timers.decrement()
            wake(
                state.withLock { state in
                    state.unseat(job)
                    state.running[job.id] = nil
                    return state.take(state.members.left(timer: job.id))
                })
        }
        return job
    }

    private func list(_ timer: LoopingCall) {
        state.withLock { $0.timers.append(timer) }
    }

    /// Takes a timer off the list; one that is not on it is left alone. A timer that runs goes on, and is still
    /// stopped with the group.
    public func removeTimer(_ timer: LoopingCall) {
        state.withLock { $0.timers.remove(timer) }
        timer.acknowledgeEnd()
    }

    /// Stops all timers and takes them off the list. A run under way is finished.
    ///
    /// - Parameters:
    ///   - wait: Whether to wait for runs under way.
    ///   - deadline: The latest end of that wait; `nil` for none.
    /// - Throws: `TimeLimitExceeded` at the deadline; `CancellationError` when the calling task is cancelled.
    public func stopTimers(wait: Bool = false, until deadline: MonotonicInstant? = nil) async throws {
        requestStopOfTimers()
        defer { endStopOfTimers() }
        if wait { try await waitForMembers(.timers, until: deadline) }
    }

    private func requestStopOfTimers() {
        let timers = state.withLock { state in
            state.timerStops += 1
            return Array(state.running.values)
        }
        for timer in timers { timer.stop() }
    }

    private func endStopOfTimers() {
        // All that run have been asked to stop: by the request, or as they came in.
        let timers = state.withLock { state in
            state.timerStops -= 1
            return state.timers.removeAll()
        }
        for timer in timers { timer.acknowledgeEnd() }
    }

    // MARK: Together

    /// Stops the group.
    ///
    /// Gracefully: no timer runs again, runs under way and threads are waited for, and at the deadline the rest is
    /// cancelled. Otherwise all are cancelled at once, which ends whatever sleeps or waits; a job that ignores
    /// cancellation is waited for. The job that calls this is left out of both. The group can be used again.
    ///
    /// - Parameters:
    ///   - graceful: Whether to let threads finish.
    ///   - deadline: The latest end; `nil` for none.
    /// - Throws: `TimeLimitExceeded` when something is left at the deadline; `CancellationError` when the calling
    ///   task is cancelled.
    public func stop(graceful: Bool = false, until deadline: MonotonicInstant? = nil) async throws {
        requestStopOfTimers()
        defer { endStopOfTimers() }
        if graceful {
            do {
                try await waitForMembers(.all, until: deadline)
            } catch {
                cancelMembers()
                throw error
            }
        } else {
            let caller = Job.current?.id
            state.withLock { $0.stops.append(caller) }
            defer {
                state.withLock { state in
                    if let index = state.stops.firstIndex(of: caller) { state.stops.remove(at: index) }
                }
            }
            cancelMembers()
            try await waitForMembers(.all, until: deadline)
        }
    }

    /// The jobs of its threads and timers.
    package var members: [Job] { state.withLock { $0.alive } }

    private func cancelMembers() {
        let caller = Job.current?.id
        for job in members where job.id != caller { job.cancel() }
    }

    /// Waits until no thread and no timer is alive. A job of the group leaves itself out, and the other jobs of the
    /// group that wait for it.
    ///
    /// - Parameter deadline: The latest instant; `nil` waits without end.
    /// - Throws: `TimeLimitExceeded` at the deadline; `CancellationError` when the calling task is cancelled.
    public func wait(until deadline: MonotonicInstant? = nil) async throws {
        try await waitForMembers(.all, until: deadline)
    }

    /// Cancels the threads that have not started. With a deadline it then waits for the others, and stops the group
    /// when they are not over by then.
    ///
    /// - Parameter deadline: When to stop the group; `nil` lets what has started go on.
    /// - Throws: `CancellationError` when the calling task is cancelled while it waits.
    public func cancel(until deadline: MonotonicInstant? = nil) async throws {
        for job in threads where job.state == .queued { job.cancel() }
        guard let deadline else { return }
        do {
            try await waitForMembers(.all, until: deadline)
        } catch is TimeLimitExceeded {
            try await stop()
        }
    }

    private func waitForMembers(_ scope: ThreadGroupState.Scope, until deadline: MonotonicInstant?) async throws {
        let over = Completion<Void>()
        let (ticket, released) = state.withLock { state in
            let (ticket, released) = state.members.wait(scope, by: caller)
            state.tickets[ticket] = over
            return (ticket, state.take(released))
        }
        wake(released)
        do {
            try await over.wait(until: deadline, clock: clock, operation: "thread group '\(name)'")
        } catch {
            state.withLock { state in
                state.tickets[ticket] = nil
                state.members.endWait(ticket)
            }
            throw error
        }
    }
}

extension ThreadGroup.State {
    fileprivate var alive: [Job] { jobs.compactMap { $0 } }

    fileprivate mutating func seat(_ job: Job) {
        if let seat = freeSeats.popLast() {
            job.seat = seat
            jobs[seat] = job
        } else {
            job.seat = jobs.count
            jobs.append(job)
        }
    }

    fileprivate mutating func unseat(_ job: Job) {
        let seat = job.seat
        jobs[seat] = nil
        freeSeats.append(seat)
    }

    fileprivate mutating func take(_ released: ThreadGroupState.Released) -> [Completion<Void>] {
        if released.admitted.isEmpty, released.finished.isEmpty { return [] }
        return (released.admitted + released.finished).compactMap { tickets.removeValue(forKey: $0) }
    }

    fileprivate func mustCancel(_ job: Job) -> Bool {
        stops.contains { $0 != job.id }
    }
}

/// The timers that can be listed, in their order. A group may have very many, so that nothing here but listing them goes
/// through all of them each time.
private struct TimerList {
    /// How many timers that have ended are kept, at least.
    static let endedKept = 64

    private var timers: [ObjectIdentifier: (number: UInt64, timer: LoopingCall)] = [:]
    private var lastNumber: UInt64 = 0
    private var nextSweep = 2 * endedKept

    var inOrder: [LoopingCall] { timers.values.sorted { $0.number < $1.number }.map(\.timer) }

    mutating func append(_ timer: LoopingCall) {
        lastNumber += 1
        timers[ObjectIdentifier(timer)] = (lastNumber, timer)
        if timers.count > nextSweep { dropEnded() }
    }

    mutating func remove(_ timer: LoopingCall) {
        timers[ObjectIdentifier(timer)] = nil
    }

    mutating func removeAll() -> [LoopingCall] {
        defer { self = TimerList() }
        return inOrder
    }

    /// Keeps the list from growing in a group whose timers end by themselves: the oldest that have ended go. It is done
    /// again when there are twice as many timers as run now, so that it costs the same for each, however many there are.
    private mutating func dropEnded() {
        let ended = timers.values.filter { !$0.timer.isRunning }.sorted { $0.number < $1.number }
        for entry in ended.dropLast(Self.endedKept) { remove(entry.timer) }
        nextSweep = 2 * max(Self.endedKept, timers.count - Self.endedKept)
    }
}

/// Upstream's `Thread`: the handle of one thread of a group.
extension Job: BackendComponent {
    /// The component's name.
    public static let componentName = "Thread"
}

/// Why a thread group refused.
public enum ThreadGroupError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The group has as many threads as it may have.
    case full(group: String, capacity: Int)
    /// The group is the one that stands for having none.
    case none

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .full(let group, let capacity):
            """
            thread group '\(group)' is full: all \(capacity) threads are alive. Raise its capacity, or use addThread of a \
            group with whenFull: .wait, which waits for room
            """
        case .none:
            "this service has no thread group: declare `let threadGroup = ThreadGroup(name: …)` in it"
        }
    }
}

/// What a thread group or a work pool does with a thread or task for which it has no room.
public enum WhenFull: String, Hashable, Sendable, CaseIterable {
    /// Lets the caller wait until there is room (upstream's Eventlet backend).
    case wait
    /// Throws ``ThreadGroupError/full(group:capacity:)`` or ``WorkPoolError/full(pool:)`` (upstream's threading backend).
    case reject
}

/// The metrics of one thread group. Groups of one name add up.
struct ThreadGroupInstruments: Sendable {
    let threads: GaugeMetric
    let limit: GaugeMetric
    let timers: GaugeMetric
    let queueLength: GaugeMetric
    let queueTime: HistogramMetric
    let tasks: CounterMetric
    let failures: CounterMetric
    let rejections: CounterMetric

    init(registry: MetricRegistry, group: String, backend: String) throws(MetricError) {
        let names = ["backend", "group"]
        threads = try registry.gaugeFamily(
            "muster_threadgroup_threads", help: "Threads of the group that are alive.", labelNames: names
        ).labels(backend, group)
        limit = try registry.gaugeFamily(
            "muster_threadgroup_threads_limit", help: "The most threads that the group may have.", labelNames: names
        ).labels(backend, group)
        timers = try registry.gaugeFamily(
            "muster_threadgroup_timers", help: "Timers of the group that run.", labelNames: names
        ).labels(backend, group)
        queueLength = try registry.gaugeFamily(
            "muster_threadgroup_queue_length", help: "Callers that wait for room in the group.", labelNames: names
        ).labels(backend, group)
        queueTime = try registry.histogramFamily(
            "muster_threadgroup_task_queue_seconds", help: "How long callers waited for room in the group.",
            unit: .seconds, buckets: .preciseSeconds, labelNames: names
        ).labels(backend, group)
        tasks = try registry.counterFamily(
            "muster_threadgroup_tasks_total", help: "Threads added to the group.", labelNames: names
        ).labels(backend, group)
        failures = try registry.counterFamily(
            "muster_threadgroup_task_failures_total", help: "Threads of the group that ended with an error.",
            labelNames: names
        ).labels(backend, group)
        rejections = try registry.counterFamily(
            "muster_threadgroup_rejections_total", help: "Threads for which the group had no room.",
            labelNames: names
        ).labels(backend, group)
    }
}
