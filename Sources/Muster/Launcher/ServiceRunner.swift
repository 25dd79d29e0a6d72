// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import MusterExecution
import MusterHealth
import MusterLock
import MusterMetrics
import MusterPlatform
import Synchronization

/// Runs services in this process until it is told to stop: what a launcher in one process and a supervised worker have
/// in common.
final class ServiceRunner: Sendable {
    /// What differs between the two.
    struct Dependencies: Sendable {
        /// Called before the services start, for example to serve the endpoint.
        var begin: @Sendable () throws -> Void = {}
        /// Called whenever all services run: after the start, and after a restart.
        var running: @Sendable () -> Void = {}
        /// Called when a restart begins.
        var restarting: @Sendable () -> Void = {}
        /// The listening sockets, at which nothing new is accepted while the services stop.
        var sockets: SocketTable?
        /// When a supervisor will kill this process that it has just told to stop; `nil` without a supervisor's word, and
        /// an inner `nil` for never.
        var toldDeadline: @Sendable () -> MonotonicInstant?? = { .none }
        /// Called when the shutdown begins, before anything stops.
        var stopping: @Sendable () -> Void = {}
        /// Called at the end, before ``wait(prepare:)`` returns.
        var finished: @Sendable () -> Void = {}
        /// Ends the process at once.
        var exitNow: @Sendable (ExitStatus) -> Void
    }

    /// Which thread receives signals and deadlines.
    enum Watch {
        /// One that runs no job: it works even if every job hangs.
        case auxiliary
        /// The waiting thread: no further thread, for a supervised process.
        case ownLoop
        /// The waiting thread, deadlines alone: the runner stops by itself, and nothing of it is seen.
        case rehearsal
        /// None: a test sends what would be signals, and its clock has the deadlines.
        case test
    }

    /// What services go through: the label `transition`.
    private enum Transition: String, CaseIterable {
        case start, stop, restart, reset
    }

    typealias Life = ProgramLife<LaunchState.Event>

    private struct State {
        var machine = LaunchState()
        /// Those of the latest stop.
        var stopAlarms: Alarms?
        var startAlarm: Alarms?
        var settingsWatch: SettingsWatch?
        /// Whether the shutdown is the end of a start that failed.
        var hasFailedToStart = false
        var watchLoop = EventLoop.auxiliary
    }

    let services: Services
    /// The clock of the deadlines: the machine's, also where jobs have one of their own, unless a test moves theirs.
    private let clock: any RuntimeClock

    private let life: Life
    private let backend: Backend
    private let currentSettings: Locked<MusterSettings>
    private let watch: Watch
    private let dependencies: Dependencies
    private let signals: CounterFamily
    private let transitions: HistogramFamily
    private let state = Locked(State())

    init(
        _ life: Life, backend: Backend, settings: MusterSettings, watch: Watch = .auxiliary, dependencies: Dependencies
    ) throws {
        self.life = life
        self.backend = backend
        currentSettings = Locked(settings)
        backend.runsExternalTasks.store(settings.runsExternalPeriodicTasks, ordering: .relaxed)
        self.watch = watch
        self.dependencies = dependencies
        clock = backend.engine.clock as? any ManuallyMovedClock ?? SystemClock()
        services = try Services(backend: backend)
        if watch != .rehearsal { try LogQueue.shared.countDropped(in: backend.metrics) }
        (signals, transitions) = try backend.metrics.registerTogether {
            let signals = try backend.metrics.counterFamily(
                "muster_signals_total", help: "Signals received.", labelNames: ["signal"])
            for signal in [UnixSignal.terminate, .interrupt, .hangUp] {
                signals.labels(signal.description).increment(by: 0)
            }
            let transitions = try backend.metrics.histogramFamily(
                "muster_service_transition_seconds",
                help: "Time that the services took to start, stop, restart or reset.",
                unit: .seconds, labelNames: ["transition"])
            for transition in Transition.allCases { _ = transitions.labels(transition.rawValue) }
            return (signals, transitions)
        }
        services.whenEnded { [weak self] service, end in self?.ended(service, end) }
    }

    private var logger: Logger { life.logger }
    var settings: MusterSettings { currentSettings.withLock { $0 } }

    // MARK: Called from outside

    var readiness: HealthResult {
        switch state.withLock({ $0.machine.phase }) {
        case .running: .pass
        case .starting: .fail("services are starting")
        case .restarting: .fail("services are restarting")
        case .stopping: .fail("shutdown has begun")
        case .finished: .fail("shutdown is over")
        }
    }

    /// The same for the status page.
    var workerState: WorkerState {
        switch state.withLock({ $0.machine.phase }) {
        case .running: .ready
        case .starting, .restarting: .starting
        case .stopping: .stopping
        case .finished: .finished
        }
    }

    /// Lets the services take up new settings, in place.
    ///
    /// - Parameter ended: Called with whether all of them did.
    func reset(_ ended: @escaping @Sendable (Bool) -> Void) {
        let isValid = readSettings()
        transition("reset") { [self] in
            let isReset = try await timed(.reset) { try await services.restartAll(.mutate) { await $0(nil) } }
            ended(isReset && isValid)
        }
    }

    /// Reads the settings again; returns whether they are valid.
    @discardableResult
    private func readSettings() -> Bool {
        do {
            guard let read = try settings.source?() else { return true }
            let (before, settings) = currentSettings.withLock { settings in
                let before = settings
                settings = settings.takingUp(read)
                return (before, settings)
            }
            backend.runsExternalTasks.store(settings.runsExternalPeriodicTasks, ordering: .relaxed)
            if watch == .auxiliary { settings.logChanges(since: before, to: logger) }
            return true
        } catch {
            logger.error("invalid settings; keeping the previous ones", metadata: ["error": "\(error)"])
            return false
        }
    }

    // MARK: Running

    func wait(prepare: (EventLoop) throws -> Void = { _ in }) -> ExitStatus {
        life.wait(on: loopForThisThread) { loop in
            if watch == .ownLoop { SignalCenter.shared.deliver(on: loop) }
            if watch != .auxiliary { state.withLock { $0.watchLoop = loop } }
            try prepare(loop)
            begin()
        }
    }

    func run() async -> ExitStatus {
        await life.run(end: .end(.success)) { begin() }
    }

    func run(ended: @escaping @Sendable (ExitStatus) -> Void) {
        life.run(begin: begin, ended: ended)
    }

    private func loopForThisThread() throws -> EventLoop {
        if let hub = backend.engine.sharedLoop, hub.claim() { return hub }
        return try EventLoop(name: "muster-main")
    }

    private func begin() {
        // A worker's are its supervisor's, which has logged them.
        if watch == .auxiliary { settings.log(to: logger) }
        let problem: (any Error)?
        do {
            try subscribe()
            try dependencies.begin()
            problem = nil
        } catch {
            problem = error
        }
        // An early request to shut down is handled before anything starts.
        life.open { [weak self] in self?.handle($0) }
        if let problem { return fail(problem) }
        watchSettings()
        watchStart()
        transition("start") { [self] in
            try await timed(.start) { try await services.start(stopsAfterFailure: false) }
            // One of them may have set up tracing.
            backend.tracing.refresh()
            life.submit(.started)
        }
    }

    private func watchSettings() {
        guard watch == .auxiliary, settings.settingsWatch else { return }
        EventLoop.auxiliary.submit { [self] in
            let watch = SettingsWatch.begin(
                settings, on: .auxiliary, logger: logger, inForce: { [weak self] in self?.settings.fileContent },
                reload: { [weak life] in life?.submit(.hangUp) })
            state.withLock { $0.settingsWatch = watch }
            if life.isOver { endSettingsWatch() }
        }
    }

    private func endSettingsWatch() {
        state.withLock { $0.settingsWatch.take() }?.end()
    }

    private func subscribe() throws {
        let terminate: LaunchState.Event
        switch watch {
        case .rehearsal, .test: return
        case .auxiliary: terminate = .terminate
        case .ownLoop:
            // A supervised worker may receive SIGTERM twice, from its supervisor and from whatever ends a whole control
            // group: no reason for an immediate shutdown, and the supervisor has a deadline.
            terminate = .end(.success)
            // A signal for the supervisor must not kill a worker that receives it by mistake. SIGTTIN and SIGTTOU are
            // ignored from the start, because a worker is in a background group of the terminal.
            try life.subscribe(.user2) { [weak life] in
                life?.logger.notice(
                    "ignoring signal meant for the supervisor", metadata: ["signal": "\(UnixSignal.user2)"])
            }
        }
        let events: [(UnixSignal, LaunchState.Event)] = [(.terminate, terminate), (.interrupt, .interrupt)]
        for (signal, event) in events {
            try life.subscribe(signal, countedBy: signals) { [weak life] in life?.submit(event) }
        }
        let isWorker = watch == .ownLoop
        try life.subscribe(.hangUp, countedBy: signals) { [weak life] in
            guard let life else { return }
            life.submit(!isWorker && life.endsAtHangUp() ? .end(.success) : .hangUp)
        }
    }

    /// Observes how long something takes, also if it fails.
    private nonisolated(nonsending) func timed<Result, Failure: Error>(
        _ transition: Transition, _ body: nonisolated(nonsending) () async throws(Failure) -> Result
    ) async throws(Failure) -> Result {
        let start = backend.engine.clock.now
        defer { transitions.labels(transition.rawValue).observe(start.duration(to: backend.engine.clock.now)) }
        return try await body()
    }

    /// Runs a start or a restart as a job.
    private func transition(_ name: String, _ body: @escaping @Sendable () async throws -> Void) {
        do {
            try backend.engine.spawn(name: "muster-\(name)") { [self] in
                do {
                    try await body()
                } catch ServicesError.stoppedWhileStarting {
                    // A shutdown was requested meanwhile: nothing has failed.
                } catch {
                    fail(error)
                }
            }
        } catch {
            fail(error)
        }
    }

    private func fail(_ error: any Error) {
        state.withLock { $0.hasFailedToStart = true }
        life.refuse(error)
        life.submit(.startFailed)
    }

    /// A service has ended without being stopped.
    private func ended(_ service: String, _ end: ServiceEnd) {
        switch end {
        case .finished:
            logger.notice("service finished", metadata: ["service": "\(service)"])
            life.submit(.end(.success))
        case .failed(let error):
            let failure = ServicesError.failed(service: service, error)
            if state.withLock({ $0.machine.phase == .starting }) {
                life.refuse(failure)
            } else {
                // Not a failed start: the supervisor goes by the exit status.
                logger.critical("service failed", metadata: ["service": "\(service)", "error": "\(error)"])
                life.record(failure)
            }
            life.submit(.end(.failure))
        }
    }

    // MARK: Events in, actions out

    private func handle(_ event: LaunchState.Event) {
        let (action, onReady, hasBecomeReady) = state.withLock { state in
            let wasReady = state.machine.isReady
            let action = state.machine.handle(event)
            // Atomically with the change of phase, so that a start in progress starts nothing after it.
            if action == .stop { services.refuseStarts() }
            return (action, life.setReady(state.machine.isReady), !wasReady && state.machine.isReady)
        }
        if hasBecomeReady {
            state.withLock { $0.startAlarm.take() }?.disarm()
            dependencies.running()
        }
        for action in onReady { action() }
        switch action {
        case nil: break
        case .stop: stopServices()
        case .restart: restartServices()
        case .finish(let status): finish(status)
        case .exitNow(let status, let reason):
            logger.critical("immediate shutdown", metadata: ["reason": "\(reason)", "exit_code": "\(status)"])
            LogQueue.shared.flush(within: .milliseconds(200))
            dependencies.exitNow(status)
            finish(status)
        }
    }

    private func restartServices() {
        dependencies.restarting()
        guard readSettings() else { return life.submit(.restarted) }
        let method = settings.restartMethod
        logger.info("restarting services", metadata: ["method": "\(method.rawValue)"])
        transition("restart") { [self] in
            let stop: Services.StopForRestart = { [self] in await stopForRestart($0) }
            _ = try await timed(method == .mutate ? .reset : .restart) {
                try await services.restartAll(method, stopsAfterFailure: false, stop: stop)
            }
            life.submit(.restarted)
        }
    }

    /// Stops the services in the course of a restart.
    private func stopForRestart(_ body: @escaping @Sendable (MonotonicInstant?) async -> Void) async {
        // Whoever waits for connections goes on, and those that come meanwhile wait.
        dependencies.sockets?.suspend()
        let over = Completion<Void>()
        let limit = StopLimit(timeout: settings.gracefulShutdownTimeout, from: clock.now)
        runStop(within: limit, cancelling: { [services] in services.all.flatMap(\.threadGroup.members) }) { [self] in
            await body(limit.map { onClock($0.end) })
        } over: { _ in
            over.complete(with: ())
        }
        _ = try? await over.wait()
        dependencies.sockets?.resume()
        watchStart()
    }

    private func stopServices() {
        logger.info("stopping services")
        dependencies.sockets?.retire()
        dependencies.stopping()
        let limit =
            switch dependencies.toldDeadline() {
            case .some(let end): end.map { StopLimit(end: $0, from: clock.now) }
            case .none: StopLimit(timeout: settings.gracefulShutdownTimeout, from: clock.now)
            }
        let (former, starting, isGraceful) = state.withLock {
            ($0.stopAlarms.take(), $0.startAlarm.take(), !$0.hasFailedToStart)
        }
        former?.disarm()
        starting?.disarm()
        runStop(within: limit, cancelling: { [backend] in backend.engine.ledger.jobs }) { [self] in
            // Waits for the start or restart in progress, which starts no further service.
            await timed(.stop) {
                await services.stop(
                    graceful: isGraceful, until: limit.map { onClock($0.end) },
                    startsUntil: limit.map { onClock($0.cancellation) })
            }
        } over: { [life] isInTime in
            life.submit(isInTime ? .stopped : .deadline)
        }
    }

    /// An instant on the clock of the jobs.
    private func onClock(_ instant: MonotonicInstant) -> MonotonicInstant {
        backend.engine.clock.now.advanced(by: clock.now.duration(to: instant))
    }

    /// Runs a stop as a job. Shortly before the limit, the jobs that are left are cancelled, so that they can clean up; at
    /// the limit, the process ends.
    ///
    /// - Parameters:
    ///   - jobs: What to cancel; the stop itself, which has been told the limit, is not.
    ///   - over: Called once the stop and what was cancelled are over, with whether nothing had to be cancelled.
    private func runStop(
        within limit: StopLimit?, cancelling jobs: @escaping @Sendable () -> [Job],
        _ body: @escaping @Sendable () async -> Void, over: @escaping @Sendable (_ isInTime: Bool) -> Void
    ) {
        let stop: Job
        do {
            stop = try backend.engine.spawn(name: "muster-stop", body)
        } catch {
            logger.error("cannot stop services", metadata: ["error": "\(error)"])
            return over(true)
        }
        guard let limit else { return stop.link { _ in over(true) } }
        let cancelled = Completion<[Job]>()
        let cancel: @Sendable () -> Void = { [self] in
            let jobs = jobs().filter { $0 !== stop }
            guard cancelled.complete(with: jobs) else { return }
            if !jobs.isEmpty {
                let names = Set(jobs.map(\.name)).sorted().prefix(10).joined(separator: ", ")
                logger.warning(
                    "graceful shutdown timeout nearly exceeded; cancelling jobs",
                    metadata: ["jobs": "\(names)", "count": "\(jobs.count)"])
            }
            for job in jobs { job.cancel() }
        }
        let alarms = Alarms(on: state.withLock { $0.watchLoop }, clock)
        state.withLock { $0.stopAlarms = alarms }
        if life.isOver { alarms.disarm() }
        // A supervisor with the same deadline acts first; this one is for other causes of the shutdown.
        let patience: Duration = watch == .ownLoop || watch == .test ? .seconds(1) : .zero
        alarms.arm(
            (
                limit.cancellation,
                { [watch] in
                    // A job's cancellation handlers may block.
                    if watch == .test { return cancel() }
                    do { try NativeThread.start(name: "muster-cancel", cancel) } catch { cancel() }
                }
            ), (limit.end.advanced(by: patience), { [weak life] in life?.submit(.deadline) }))
        stop.link { [clock] _ in
            let isInTime = clock.now < limit.cancellation && cancelled.complete(with: [])
            // Also when the stop has cancelled them itself, a moment ago.
            if !isInTime { cancel() }
            Self.whenOver(cancelled.value ?? []) {
                alarms.disarm()
                over(isInTime)
            }
        }
    }

    private static func whenOver(_ jobs: [Job], _ action: @escaping @Sendable () -> Void) {
        guard !jobs.isEmpty else { return action() }
        let left = Locked(jobs.count)
        for job in jobs {
            job.link { _ in
                let isLast = left.withLock { left in
                    left -= 1
                    return left == 0
                }
                if isLast { action() }
            }
        }
    }

    /// Warns when the start takes long: a service that serves inside `start()` would never become ready, in silence.
    private func watchStart() {
        let timeout = settings.startupTimeout
        let delay = timeout > .zero ? min(timeout / 2, .seconds(10)) : .seconds(10)
        let alarm = Alarms(on: state.withLock { $0.watchLoop }, clock)
        state.withLock { $0.startAlarm = alarm }
        alarm.arm(
            (
                clock.now.advanced(by: delay),
                { [weak self] in
                    guard let self, let service = services.starting else { return }
                    logger.warning(
                        "service has not started yet",
                        metadata: [
                            "service": "\(service)",
                            "remedy": "start() has to return: what serves belongs into threads and timers",
                        ])
                }
            ))
    }

    private func finish(_ status: ExitStatus) {
        dependencies.finished()
        endSettingsWatch()
        let (stop, start) = state.withLock { ($0.stopAlarms.take(), $0.startAlarm.take()) }
        stop?.disarm()
        start?.disarm()
        life.finish(status)
    }
}

/// When a stop has to be over, and when what is left by then is cancelled: a quarter of the time, two seconds at most, is
/// for cleaning up.
struct StopLimit: Sendable {
    let end: MonotonicInstant
    let cancellation: MonotonicInstant

    init(end: MonotonicInstant, from now: MonotonicInstant) {
        self.end = end
        let left = max(now.duration(to: end), .zero)
        cancellation = end.advanced(by: .zero - min(left / 4, .seconds(2)))
    }

    /// None for a time-out of zero.
    init?(timeout: Duration, from now: MonotonicInstant) {
        guard timeout > .zero else { return nil }
        self.init(end: now.advanced(by: timeout), from: now)
    }
}

/// Actions that a loop, or a test's clock, runs at their instants unless they are called off, from any thread.
private final class Alarms: Sendable {
    private typealias Cancellation = @Sendable () -> Void

    private let loop: EventLoop
    private let testClock: (any ManuallyMovedClock)?
    private let state = Locked<(isOff: Bool, cancellations: [Cancellation])>((false, []))

    init(on loop: EventLoop, _ clock: any RuntimeClock) {
        self.loop = loop
        testClock = clock as? any ManuallyMovedClock
    }

    func arm(_ actions: (instant: MonotonicInstant, action: @Sendable () -> Void)...) {
        perform { [self] in
            guard !state.withLock({ $0.isOff }) else { return }
            let cancellations = actions.map { alarm in
                schedule(at: alarm.instant) { [self] in
                    if !state.withLock({ $0.isOff }) { alarm.action() }
                }
            }
            state.withLock { $0.cancellations = cancellations }
        }
    }

    func disarm() {
        state.withLock { $0.isOff = true }
        perform { [self] in
            let cancellations = state.withLock { state in
                defer { state.cancellations = [] }
                return state.cancellations
            }
            for cancel in cancellations { cancel() }
        }
    }

    private func perform(_ work: @escaping @Sendable () -> Void) {
        if testClock == nil { loop.submit(work) } else { work() }
    }

    private func schedule(at instant: MonotonicInstant, _ action: @escaping @Sendable () -> Void) -> Cancellation {
        if let testClock { return testClock.schedule(at: instant, action) }
        let scheduled = loop.schedule(at: instant, action)
        return { [loop] in loop.cancel(scheduled) }
    }
}

/// The life of a ``ServiceLauncher``: events in, actions out. Pure: no clock, no signal, no service.
///
/// | phase      | started | startFailed | terminate | end      | interrupt | hangUp  | restarted | stopped | deadline |
/// |------------|---------|-------------|-----------|----------|-----------|---------|-----------|---------|----------|
/// | starting   | running³| stopping    | stopping¹ | stopping¹| exit 1    | –³      | –         | –       | –        |
/// | running    | –       | –           | stopping  | stopping | exit 1    | restart | –         | –       | –        |
/// | restarting | –       | stopping    | stopping¹ | stopping¹| exit 1    | –³      | running³  | –       | exit 1   |
/// | stopping   | –       | –²          | exit 1    | –        | exit 1    | –       | –         | finish  | exit 1   |
/// | finished   | –       | –           | –         | –        | –         | –       | –         | –       | –        |
///
/// ¹ The services' stop begins when their start under way is over.
/// ² The status becomes 1.
/// ³ A reload that is asked for meanwhile follows, once.
struct LaunchState: Sendable {
    /// What happens to a launcher.
    enum Event: Hashable, Sendable {
        /// All services have started.
        case started
        /// A service has not started.
        case startFailed
        /// SIGTERM: a graceful end; the second one, an end at once.
        case terminate
        /// The program asks for a graceful end; asking again changes nothing.
        case end(ExitStatus)
        /// An end at once is asked for (SIGINT).
        case interrupt
        /// A reload is asked for (SIGHUP).
        case hangUp
        /// The reload is over.
        case restarted
        /// All services have been stopped.
        case stopped
        /// The graceful end, or the stop of a restart, has taken too long.
        case deadline
    }

    /// What a launcher has to do.
    enum Action: Hashable, Sendable {
        /// Readiness goes off, the deadline is armed, the services are stopped gracefully.
        case stop
        /// The services are restarted, or reset.
        case restart
        /// Everything is over: `wait` returns this status.
        case finish(ExitStatus)
        /// The process ends now, whatever still runs.
        case exitNow(ExitStatus, reason: String)
    }

    /// Where the launcher is.
    enum Phase: Hashable, Sendable {
        case starting
        case running
        case restarting
        case stopping(ExitStatus)
        case finished(ExitStatus)
    }

    private(set) var phase = Phase.starting
    private var isReloadRemembered = false

    /// Whether all services run and no end has been asked for.
    var isReady: Bool {
        switch phase {
        case .running: true
        case .starting, .restarting, .stopping, .finished: false
        }
    }

    mutating func handle(_ event: Event) -> Action? {
        switch (phase, event) {
        case (.starting, .started), (.restarting, .restarted):
            phase = .running
            guard isReloadRemembered else { return nil }
            isReloadRemembered = false
            return handle(.hangUp)
        case (.starting, .hangUp), (.restarting, .hangUp):
            isReloadRemembered = true
            return nil
        case (.starting, .startFailed), (.restarting, .startFailed):
            phase = .stopping(.failure)
            return .stop
        case (.starting, .terminate), (.running, .terminate), (.restarting, .terminate):
            phase = .stopping(.success)
            return .stop
        case (.running, .hangUp):
            phase = .restarting
            return .restart
        case (.starting, .end(let status)), (.running, .end(let status)), (.restarting, .end(let status)):
            phase = .stopping(status)
            return .stop
        case (.stopping, .startFailed):
            phase = .stopping(.failure)
            return nil
        case (.stopping(let status), .stopped):
            phase = .finished(status)
            return .finish(status)
        case (.stopping, .terminate):
            return end("second SIGTERM")
        case (.stopping, .deadline), (.restarting, .deadline):
            return end("graceful shutdown timeout exceeded")
        case (.starting, .interrupt), (.running, .interrupt), (.restarting, .interrupt), (.stopping, .interrupt):
            return end("SIGINT")
        case (.starting, _), (.running, _), (.restarting, _), (.stopping, _), (.finished, _):
            return nil
        }
    }

    private mutating func end(_ reason: String) -> Action {
        phase = .finished(.failure)
        return .exitNow(.failure, reason: reason)
    }
}
