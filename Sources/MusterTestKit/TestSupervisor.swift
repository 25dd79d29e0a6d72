// SPDX-License-Identifier: Apache-2.0

import Glibc
public import Logging
public import Muster
import MusterExecution
import MusterLock
public import MusterMetrics
import MusterPlatform
import MusterSupervision

/// A supervisor with one worker in the test's process, on a clock that the test moves.
///
/// It makes the decisions of the supervisor of a `ProcessLauncher`, by the same state machine, and its worker starts, stops
/// and reloads the service as a worker process does. What differs: a worker is a backend of its own instead of a
/// process, so that killing one cancels its jobs; a hang is one that a looping call's stall limit shows, or that the test
/// claims; and health checks do not count.
///
/// ```swift
/// let clock = ManualClock()
/// try await TestSupervisor.run(.cooperative, clock: clock, service: { _ in Mailer() }) { supervisor in
///     #expect(supervisor.takeEvents() == [.started(worker: 1), .ready(worker: 1)])
///     await supervisor.stop()
///     #expect(supervisor.takeEvents() == [.exited(worker: 1, reason: "requested"), .finished(.success)])
/// }
/// ```
public final class TestSupervisor: Sendable {
    /// What a supervisor logs and counts. Workers have numbers from 1, in the order in which they are started.
    public enum Event: Hashable, Sendable {
        /// A worker has been started.
        case started(worker: Int)
        /// Its service has started.
        case ready(worker: Int)
        /// Its service's `start()` threw.
        case startFailed(worker: Int)
        /// It was not ready within the startup timeout, and is aborted.
        case startupTimedOut(worker: Int)
        /// It made no progress, and is aborted.
        case hung(worker: Int)
        /// It did not stop within the graceful shutdown timeout, and is killed.
        case stopTimedOut(worker: Int)
        /// It has ended, for a reason as in the label `reason` of `muster_worker_restarts_total`.
        case exited(worker: Int, reason: String)
        /// A worker follows, after a delay.
        case restarting(after: Duration)
        /// A reload has begun.
        case reloading
        /// A reload, or the taking up of settings, has ended: `completed`, `aborted` or `superseded`.
        case reloaded(String)
        /// Everything is over, and this is the program's exit status.
        case finished(Muster.ExitStatus)
    }

    private enum Input: Sendable {
        case event(SupervisorEvent)
        case report(Int, TestWorker.Report)
        case inspection(Int)
        case hang(Int)
    }

    private struct Child: Sendable {
        let worker: TestWorker
        var inspection: (@Sendable () -> Void)?
        /// When it will have made no progress for too long, once the test has claimed that it makes none.
        var hungFrom: MonotonicInstant?
    }

    private struct State {
        var machine: SupervisorState
        var inputs: [Input] = []
        var isHandling = false
        var children: [Int: Child] = [:]
        /// All that there have been.
        var backends: [Backend] = []
        var timers: [SupervisorTimer: @Sendable () -> Void] = [:]
        var numbers: [Int: Int] = [:]
        var leases = TaskLeases()
        var events: [Event] = []
    }

    private let clock: ManualClock
    private let settings: MusterSettings
    private let makeWorker: @Sendable (@escaping @Sendable (TestWorker.Report) -> Void) throws -> TestWorker
    private let state: Locked<State>

    private init(
        _ type: BackendType, settings: MusterSettings, options: WorkerOptions, clock: ManualClock, logger: Logger,
        service: @escaping @Sendable (Backend) -> any ServiceBase
    ) {
        var options = options
        options.warmSpares = 0
        self.clock = clock
        self.settings = settings
        let configuration = SupervisorConfiguration(
            groups: [TestWorker.group(options, settings)], shutdownDelay: settings.shutdownDelay, jitterSeed: 0)
        state = Locked(State(machine: SupervisorState(configuration)))
        makeWorker = { report in
            let backend = try TestBackend.make(type, clock: clock, logger: logger)
            return try Self.selecting(backend) {
                try TestWorker(
                    service(backend), backend: backend, settings: settings, logger: logger, report: report)
            }
        }
    }

    private static func selecting<Result>(_ backend: Backend, _ body: () throws -> Result) rethrows -> Result {
        try BackendSelector.$scoped.withValue(BackendSelector.shared.scope(selecting: backend), operation: body)
    }

    /// Starts a service under a supervisor, waits until all is still, and ends what is left after the test.
    ///
    /// - Parameters:
    ///   - type: The backend of each worker.
    ///   - settings: The settings of the supervisor and of its workers; their deadlines pass on the clock.
    ///   - options: The options of the launched service. There are no warm spares.
    ///   - clock: The test's clock.
    ///   - logger: Where the workers log.
    ///   - service: Makes the service, for each worker anew, with the worker's backend, which is the selected one meanwhile
    ///     and in all that the service does.
    ///   - body: The test.
    /// - Throws: What the test throws.
    public nonisolated(nonsending) static func run<Result>(
        _ type: BackendType, settings: MusterSettings = MusterSettings(), options: WorkerOptions = WorkerOptions(),
        clock: ManualClock, logger: Logger = Logger(label: "muster.test"),
        service: @escaping @Sendable (Backend) -> any ServiceBase,
        _ body: nonisolated(nonsending) (TestSupervisor) async throws -> Result
    ) async throws -> Result {
        let supervisor = TestSupervisor(
            type, settings: settings, options: options, clock: clock, logger: logger, service: service)
        let result: Result
        do {
            await supervisor.send(.event(.begin))
            result = try await body(supervisor)
        } catch {
            try? await supervisor.end()
            throw error
        }
        try await supervisor.end()
        return result
    }

    private nonisolated(nonsending) func end() async throws {
        handle(.event(.interrupt))
        for backend in state.withLock({ $0.backends }) { try await backend.engine.shutDown() }
    }

    // MARK: In the test's hands

    /// What has happened since this was last called.
    public func takeEvents() -> [Event] {
        state.withLock { state in
            defer { state.events = [] }
            return state.events
        }
    }

    /// The metrics of the latest worker.
    public var metrics: MetricRegistry? { state.withLock { $0.backends.last?.metrics } }

    /// Replaces the worker, as SIGHUP does: a new one starts, and when it is ready the old one stops.
    public nonisolated(nonsending) func reload() async { await send(.event(.reload)) }

    /// Lets the worker take up its settings in place, as SIGHUP does with the restart method `mutate`.
    public nonisolated(nonsending) func mutate() async { await send(.event(.mutate)) }

    /// Stops the worker, and then the supervisor, as SIGTERM does.
    public nonisolated(nonsending) func stop() async { await send(.event(.terminate)) }

    /// Claims that the worker makes no progress from now on: it is found to hang after the liveness limit, and is deaf to
    /// messages and signals until it is aborted. Its jobs do go on.
    public nonisolated(nonsending) func hang() async {
        if let incarnation = state.withLock({ $0.children.keys.max() }) { await send(.hang(incarnation)) }
    }

    /// Ends the worker, as SIGKILL from elsewhere does.
    public nonisolated(nonsending) func kill() async {
        if let incarnation = state.withLock({ $0.children.keys.max() }) {
            end(incarnation, SIGKILL)
            await clock.advance(by: .zero)
        }
    }

    private nonisolated(nonsending) func send(_ input: Input) async {
        handle(input)
        await clock.advance(by: .zero)
    }

    // MARK: Inputs, one after the other, from any thread

    private func handle(_ input: Input) {
        let isFirst = state.withLock { state in
            state.inputs.append(input)
            defer { state.isHandling = true }
            return !state.isHandling
        }
        guard isFirst else { return }
        while let next = nextInput() {
            switch next {
            case .event(let event): perform(event)
            case .report(let incarnation, let report): receive(report, from: incarnation)
            case .inspection(let incarnation): inspect(incarnation)
            case .hang(let incarnation): beginHang(of: incarnation)
            }
        }
    }

    private func nextInput() -> Input? {
        state.withLock { state in
            guard state.inputs.isEmpty else { return state.inputs.removeFirst() }
            state.isHandling = false
            return nil
        }
    }

    private func perform(_ event: SupervisorEvent) {
        let now = clock.now
        let actions = state.withLock { state in
            var actions: [SupervisorAction] = []
            state.machine.handle(event, at: now, into: &actions)
            return actions
        }
        for action in actions { perform(action) }
    }

    private func perform(_ action: SupervisorAction) {
        switch action {
        case .spawn(let incarnation, _): spawn(incarnation)
        case .stop(let incarnation):
            state.withLock { $0.leases.leave(incarnation, of: 0) }
            guard let child = child(incarnation), child.hungFrom == nil else { return }
            let end = state.withLock { $0.machine.timers[.kill(incarnation)] }
            Self.selecting(child.worker.backend) { child.worker.stop(until: end) }
        case .abort(let incarnation): end(incarnation, SIGABRT)
        case .kill(let incarnation), .finishOff(let incarnation): end(incarnation, SIGKILL)
        case .reset(let incarnation):
            guard let child = child(incarnation), child.hungFrom == nil else { return }
            Self.selecting(child.worker.backend) { child.worker.reset() }
        case .arm(let timer, let instant):
            let cancel = clock.schedule(at: instant) { [weak self] in self?.handle(.event(.timer(timer))) }
            state.withLock { $0.timers.updateValue(cancel, forKey: timer) }?()
        case .disarm(let timer): state.withLock { $0.timers.removeValue(forKey: timer) }?()
        case .notice(let notice): record(notice)
        case .finish(let status): state.withLock { $0.events.append(.finished(Muster.ExitStatus(rawValue: status))) }
        // There are no spares.
        case .promote, .promoted: break
        }
    }

    private func child(_ incarnation: Int) -> Child? { state.withLock { $0.children[incarnation] } }

    private func spawn(_ incarnation: Int) {
        do {
            let worker = try makeWorker { [weak self] in self?.handle(.report(incarnation, $0)) }
            state.withLock { state in
                state.children[incarnation] = Child(worker: worker)
                state.backends.append(worker.backend)
                state.numbers[incarnation] = state.numbers.count + 1
            }
            handle(.event(.spawned(incarnation)))
            Self.selecting(worker.backend) { worker.start() }
        } catch {
            handle(.event(.spawnFailed(incarnation)))
        }
    }

    private func end(_ incarnation: Int, _ signal: Int32) {
        guard let child = state.withLock({ $0.children.removeValue(forKey: incarnation) }) else { return }
        child.inspection?()
        child.worker.kill()
        passLease(from: incarnation)
        handle(.event(.exited(incarnation, .signaled(signal), isOutOfMemory: false)))
    }

    private func receive(_ report: TestWorker.Report, from incarnation: Int) {
        guard let child = child(incarnation) else { return }
        switch report {
        case .exited(let status):
            child.inspection?()
            state.withLock { $0.children[incarnation] = nil }
            passLease(from: incarnation)
            perform(.exited(incarnation, .exited(code: status.rawValue), isOutOfMemory: false))
        case .message(.ready):
            perform(.ready(incarnation))
            inspect(incarnation)
        case .message(.startFailed): perform(.startFailed(incarnation))
        case .message(.hasReset(let succeeded)): perform(.hasReset(incarnation, succeeded: succeeded))
        case .message(.active): inspect(incarnation)
        case .message(.seekLease):
            let isGranted = state.withLock { state in
                state.machine.isServing(incarnation) && state.leases.seek(incarnation, of: 0)
            }
            if isGranted { giveLease(to: incarnation) }
        case .message(.taskRun(let run, let task)):
            let now = clock.now.nanoseconds &+ clock.lead
            state.withLock { $0.leases.record(run, of: task, by: incarnation, of: 0, at: now) }
        case .message: break
        }
    }

    private func passLease(from incarnation: Int) {
        if let next = state.withLock({ $0.leases.end(incarnation, of: 0) }) { giveLease(to: next) }
    }

    private func giveLease(to incarnation: Int) {
        let records = state.withLock { $0.leases.encoded(0) }
        child(incarnation)?.worker.grant(records)
    }

    // MARK: Hangs

    private func inspect(_ incarnation: Int) {
        let now = clock.now
        guard let child = child(incarnation), state.withLock({ $0.machine.isJudged(incarnation) }) else { return }
        if let hungFrom = child.hungFrom {
            if hungFrom <= now { perform(.unresponsive(incarnation, canAbort: true)) }
            return
        }
        child.inspection?()
        switch child.worker.vitalSigns.watch(limit: settings.livenessLimit, now: now) {
        case .quiet: break
        case .nextLook(let instant): scheduleInspection(of: incarnation, at: instant)
        case .hung(let hang):
            switch hang.cause {
            case .deadline, .health: perform(.unresponsive(incarnation, canAbort: true))
            // A thread's turns are on the machine's clock; the test waits for them.
            case .turn, .thread: scheduleInspection(of: incarnation, at: now.advanced(by: settings.livenessLimit))
            }
        }
    }

    private func scheduleInspection(of incarnation: Int, at instant: MonotonicInstant) {
        let cancel = clock.schedule(at: max(instant, clock.now.advanced(by: .nanoseconds(1)))) { [weak self] in
            self?.handle(.inspection(incarnation))
        }
        state.withLock { $0.children[incarnation]?.inspection = cancel }
    }

    private func beginHang(of incarnation: Int) {
        let limit = settings.livenessLimit
        let instant = limit > .zero ? clock.now.advanced(by: limit) : .distantFuture
        child(incarnation)?.inspection?()
        state.withLock { $0.children[incarnation]?.hungFrom = instant }
        scheduleInspection(of: incarnation, at: instant)
    }

    // MARK: Events

    private func record(_ notice: SupervisorNotice) {
        state.withLock { state in
            let numbers = state.numbers
            let event: Event? =
                switch notice {
                case .started(_, let incarnation): .started(worker: numbers[incarnation, default: 0])
                case .ready(_, let incarnation): .ready(worker: numbers[incarnation, default: 0])
                case .startFailed(_, let incarnation): .startFailed(worker: numbers[incarnation, default: 0])
                case .startupTimedOut(_, let incarnation): .startupTimedOut(worker: numbers[incarnation, default: 0])
                case .unresponsive(_, let incarnation): .hung(worker: numbers[incarnation, default: 0])
                case .stopTimedOut(let incarnation): .stopTimedOut(worker: numbers[incarnation, default: 0])
                case .died(let death):
                    .exited(worker: numbers[death.incarnation, default: 0], reason: death.reason.rawValue)
                case .restarting(_, _, let delay): .restarting(after: delay)
                case .reloadBegan: .reloading
                case .reloadEnded(let outcome), .resetEnded(let outcome): .reloaded(outcome.rawValue)
                default: nil
                }
            if let event { state.events.append(event) }
        }
    }
}
