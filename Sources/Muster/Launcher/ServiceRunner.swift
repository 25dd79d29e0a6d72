// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import MusterEndpoint
import MusterExecution
import MusterHealth
import MusterMetrics
import MusterPlatform

/// Runs services in this process until it is told to end: signals, a graceful end, an exit status. What a launcher in
/// one process and a supervised worker have in common.
final class ServiceRunner: Sendable {
    /// What differs between the two.
    struct Surroundings: Sendable {
        /// Called before the services start, for example to serve the endpoint.
        var begin: @Sendable () throws -> Void = {}
        /// Called when something has failed, with the first error.
        var failed: @Sendable (any Error) -> Void = { _ in }
        /// Called each time that all services run: after the start, and after a restart.
        var running: @Sendable () -> Void = {}
        /// Called when a restart begins.
        var restarting: @Sendable () -> Void = {}
        /// Called with settings that were read again.
        var settingsChanged: @Sendable (MusterSettings) -> Void = { _ in }
        /// Called when the end begins, before anything stops.
        var stopping: @Sendable () -> Void = {}
        /// Called at the end, before ``wait()`` returns.
        var finished: @Sendable () -> Void = {}
        /// Ends the process at once.
        var exitNow: @Sendable (ExitStatus) -> Void
    }

    /// Whose threads take signals and deadlines.
    enum Watch {
        /// A thread that runs no job: they hold although every job hangs.
        case auxiliary
        /// The loop of the waiting thread: no further thread, for a process that is watched by another one.
        case ownLoop
        /// No signals are taken: it ends by itself.
        case nobody
    }

    private struct State {
        var machine = LaunchState()
        var hasBegun = false
        /// What has happened before it had begun; `nil` once it has.
        var early: [LaunchState.Event]? = []
        var subscriptions: [SignalCenter.Subscription] = []
        var deadline: EventLoop.ScheduledAction?
        var failure: (any Error)?
        var onReady: [@Sendable () -> Void] = []
        var watchLoop = EventLoop.auxiliary
    }

    let services: Services

    private let backend: Backend
    private let currentSettings: Locked<MusterSettings>
    private let makeLogger: @Sendable () -> Logger
    private let watch: Watch
    private let surroundings: Surroundings
    private let signals: CounterFamily
    private let state = Locked(State())
    private let over = Completion<ExitStatus>()

    init(
        backend: Backend, settings: MusterSettings, logger: @escaping @Sendable () -> Logger,
        watch: Watch = .auxiliary, surroundings: Surroundings
    ) throws {
        self.backend = backend
        currentSettings = Locked(settings)
        makeLogger = logger
        self.watch = watch
        self.surroundings = surroundings
        services = try Services(backend: backend)
        signals = try backend.metrics.counterFamily(
            "muster_signals_total", help: "Signals received.", labelNames: ["signal"])
        for signal in [UnixSignal.terminate, .interrupt, .hangUp] {
            signals.labels(signal.description).increment(by: 0)
        }
        services.whenEnded { [weak self] service, end in self?.ended(service, end) }
    }

    /// Asked each time: in a warm spare it changes with the slot.
    private var logger: Logger { makeLogger() }
    private var settings: MusterSettings { currentSettings.withLock { $0 } }

    // MARK: Asked from outside

    func whenReady(_ action: @escaping @Sendable () -> Void) {
        let isReady = state.withLock { state in
            if !state.machine.isReady { state.onReady.append(action) }
            return state.machine.isReady
        }
        if isReady { action() }
    }

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

    var failure: (any Error)? { state.withLock { $0.failure } }

    func stop(_ status: ExitStatus) {
        handle(.end(status))
    }

    func restart() {
        handle(.hangUp)
    }

    /// Lets the services take up new settings, in place.
    func reset() {
        do {
            try readSettings()
        } catch {
            logger.error("invalid settings; keeping the previous ones", metadata: ["error": "\(error)"])
        }
        transition("reset") { [self] in try await services.restart(.mutate) }
    }

    private func readSettings() throws {
        let source = settings.source
        guard var settings = try source?() else { return }
        // Where they come from stays what the program has made of it.
        settings.source = source
        currentSettings.withLock { [settings] in $0 = settings }
        surroundings.settingsChanged(settings)
    }

    // MARK: Running

    func wait(prepare: (EventLoop) throws -> Void = { _ in }) -> ExitStatus {
        guard takeUp() else { return refuse(ServicesError.alreadyStarted) }
        do {
            let loop = try loopForThisThread()
            if NativeThread.isMain { try loop.serveMainQueue() }
            if case .ownLoop = watch {
                SignalCenter.shared.deliver(on: loop)
                state.withLock { $0.watchLoop = loop }
            }
            try prepare(loop)
            begin()
            over.whenComplete { _ in loop.leave() }
            try loop.run()
        } catch {
            return refuse(error)
        }
        return over.value ?? .failure
    }

    /// Runs without a thread of the caller's, for an asynchronous `main`.
    func run() async -> ExitStatus {
        guard takeUp() else { return refuse(ServicesError.alreadyStarted) }
        begin()
        return await withTaskCancellationHandler {
            // Its own end is what is waited for, however the task fares: a cancelled task stops the launcher.
            await withCheckedContinuation { continuation in
                over.whenComplete { continuation.resume(returning: $0) }
            }
        } onCancel: {
            stop(.success)
        }
    }

    private func refuse(_ error: any Error) -> ExitStatus {
        note(error)
        return .failure
    }

    private func loopForThisThread() throws -> EventLoop {
        if let engine = backend.engine as? CooperativeEngine, engine.hub.claim() { return engine.hub }
        return try EventLoop(name: "muster-main")
    }

    private func takeUp() -> Bool {
        state.withLock { state in
            defer { state.hasBegun = true }
            return !state.hasBegun
        }
    }

    private func begin() {
        if settings.logOptions { logger.debug("settings", metadata: ["settings": "\(settings)"]) }
        do {
            try subscribe()
            try surroundings.begin()
        } catch {
            takeUpEarly()
            return fail(error)
        }
        takeUpEarly()
        transition("start") { [self] in
            try await services.start()
            handle(.started)
        }
    }

    /// An end that was asked for before the begin comes after it, so that nothing is begun that has ended.
    private func takeUpEarly() {
        let events = state.withLock { $0.early.take() } ?? []
        for event in events { handle(event) }
    }

    private func subscribe() throws {
        if case .nobody = watch { return }
        // A supervised worker may be sent SIGTERM twice, by its supervisor and by whoever ends a whole control group:
        // that is no impatience, and the supervisor has a deadline.
        let terminate: LaunchState.Event = if case .ownLoop = watch { .end(.success) } else { .terminate }
        let events: [(UnixSignal, LaunchState.Event)] = [
            (.terminate, terminate), (.interrupt, .interrupt), (.hangUp, .hangUp),
        ]
        if case .ownLoop = watch { try subscribeToSupervisorsSignals() }
        for (signal, event) in events {
            let counter = signals.labels(signal.description)
            let subscription = try SignalCenter.shared.subscribe(signal) { [weak self, logger] signal in
                counter.increment()
                logger.info("received signal", metadata: ["signal": "\(signal)"])
                self?.handle(event)
            }
            state.withLock { $0.subscriptions.append(subscription) }
        }
    }

    /// What means something to a supervisor only shall not stop or kill a worker that it is sent to by mistake.
    private func subscribeToSupervisorsSignals() throws {
        for number in [SIGTTIN, SIGTTOU, SIGUSR2] {
            let subscription = try SignalCenter.shared.subscribe(UnixSignal(rawValue: number)) { [logger] signal in
                logger.notice("ignoring signal meant for the supervisor", metadata: ["signal": "\(signal)"])
            }
            state.withLock { $0.subscriptions.append(subscription) }
        }
    }

    /// Runs a start or a restart as a job.
    private func transition(_ name: String, _ body: @escaping @Sendable () async throws -> Void) {
        do {
            try backend.engine.spawn(name: "muster-\(name)") { [self] in
                do {
                    try await body()
                } catch ServicesError.stoppedWhileStarting {
                    // The end was asked for meanwhile: nothing has failed.
                } catch {
                    fail(error)
                }
            }
        } catch {
            fail(error)
        }
    }

    private func fail(_ error: any Error) {
        note(error)
        handle(.startFailed)
    }

    private func note(_ error: any Error) {
        logger.critical("cannot run", metadata: ["error": "\(error)"])
        let isFirst = state.withLock { state in
            guard state.failure == nil else { return false }
            state.failure = error
            return true
        }
        if isFirst { surroundings.failed(error) }
    }

    /// A service has ended without being stopped.
    private func ended(_ service: String, _ end: ServiceEnd) {
        switch end {
        case .finished:
            logger.notice("service finished", metadata: ["service": "\(service)"])
            handle(.end(.success))
        case .failed(let error):
            let isStarting = state.withLock { $0.machine.phase == .starting }
            if isStarting {
                note(ServicesError.failed(service: service, error))
            } else {
                // No failed start: the supervisor looks at the process' end.
                logger.critical("service failed", metadata: ["service": "\(service)", "error": "\(error)"])
                state.withLock { $0.failure = $0.failure ?? ServicesError.failed(service: service, error) }
            }
            handle(.end(.failure))
        }
    }

    // MARK: Events in, actions out

    private func handle(_ event: LaunchState.Event) {
        let (action, onReady, hasBecomeReady) = state.withLock { state in
            guard state.early == nil else {
                state.early?.append(event)
                return (LaunchState.Action?.none, [@Sendable () -> Void](), false)
            }
            let wasReady = state.machine.isReady
            let action = state.machine.handle(event)
            // As one with the change of phase, so that a start under way starts nothing after it.
            if action == .stop { services.refuseStarts() }
            guard state.machine.isReady else { return (action, [@Sendable () -> Void](), false) }
            defer { state.onReady = [] }
            return (action, state.onReady, !wasReady)
        }
        if hasBecomeReady { surroundings.running() }
        for action in onReady { action() }
        switch action {
        case nil: break
        case .stop: stopServices()
        case .restart: restartServices()
        case .finish(let status): finish(status)
        case .exitNow(let status, let reason):
            logger.critical("immediate shutdown", metadata: ["reason": "\(reason)", "exit_code": "\(status)"])
            surroundings.exitNow(status)
            finish(status)
        }
    }

    private func restartServices() {
        surroundings.restarting()
        do {
            try readSettings()
        } catch {
            logger.error("invalid settings; keeping the previous ones", metadata: ["error": "\(error)"])
            return handle(.restarted)
        }
        let method = settings.restartMethod
        logger.info("restarting services", metadata: ["method": "\(method.rawValue)"])
        transition("restart") { [self] in
            try await services.restart(method, until: shutdownDeadline)
            handle(.restarted)
        }
    }

    private var shutdownDeadline: MonotonicInstant? {
        let timeout = settings.gracefulShutdownTimeout
        return timeout > .zero ? backend.engine.clock.now.advanced(by: timeout) : nil
    }

    private func stopServices() {
        logger.info("stopping services")
        surroundings.stopping()
        let timeout = settings.gracefulShutdownTimeout
        if timeout > .zero {
            // Where a supervisor has the same deadline it acts first; this one is for whoever else has asked.
            let patience: Duration = if case .ownLoop = watch { .seconds(1) } else { .zero }
            let loop = state.withLock { $0.watchLoop }
            loop.submit { [self] in
                let deadline = loop.schedule(at: .now.advanced(by: timeout + patience)) { [weak self] in
                    self?.handle(.deadline)
                }
                state.withLock { $0.deadline = deadline }
                if over.value != nil { disarm() }
            }
        }
        do {
            try backend.engine.spawn(name: "muster-stop") { [self] in
                // Waits for the start or restart under way, which starts no further service.
                await services.stop(graceful: true, until: nil)
                handle(.stopped)
            }
        } catch {
            logger.error("cannot stop services", metadata: ["error": "\(error)"])
            handle(.stopped)
        }
    }

    private func disarm() {
        let (deadline, loop) = state.withLock { state in (state.deadline.take(), state.watchLoop) }
        if let deadline, loop.isCurrent { loop.cancel(deadline) }
    }

    private func finish(_ status: ExitStatus) {
        let subscriptions = state.withLock { state in
            defer { state.subscriptions = [] }
            return state.subscriptions
        }
        for subscription in subscriptions { SignalCenter.shared.unsubscribe(subscription) }
        surroundings.finished()
        logger.info("stopped", metadata: ["exit_code": "\(status)"])
        let loop = state.withLock { $0.deadline == nil ? nil : $0.watchLoop }
        loop?.submit { [self] in disarm() }
        over.complete(with: status)
    }
}

/// The life of a ``ServiceLauncher``: events in, actions out. Pure: no clock, no signal, no service.
///
/// | phase      | started | startFailed | terminate | end      | interrupt | hangUp  | restarted | stopped | deadline |
/// |------------|---------|-------------|-----------|----------|-----------|---------|-----------|---------|----------|
/// | starting   | running | stopping    | stopping¹ | stopping¹| exit 1    | –       | –         | –       | –        |
/// | running    | –       | –           | stopping  | stopping | exit 1    | restart | –         | –       | –        |
/// | restarting | –       | stopping    | stopping¹ | stopping¹| exit 1    | –       | running   | –       | –        |
/// | stopping   | –       | –²          | exit 1    | –        | exit 1    | –       | –         | finish  | exit 1   |
/// | finished   | –       | –           | –         | –        | –         | –       | –         | –       | –        |
///
/// ¹ The services' stop begins when their start under way is over.
/// ² The status becomes 1.
struct LaunchState: Sendable {
    /// What happens to a launcher.
    enum Event: Hashable, Sendable {
        /// All services have started.
        case started
        /// A service has not started; those before it have been stopped.
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
        /// The graceful end has taken too long.
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
        case (.stopping, .deadline):
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
