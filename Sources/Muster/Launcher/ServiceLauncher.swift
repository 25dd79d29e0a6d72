// SPDX-License-Identifier: Apache-2.0

import CMuster
public import Logging
import MusterEndpoint
import MusterExecution
import MusterMetrics
import MusterPlatform

/// Runs services in this process, as a program of its own: with signals, the endpoint, a graceful end and an exit
/// status.
///
/// - SIGTERM ends gracefully: readiness goes off, the services stop in reverse order, and after
///   `gracefulShutdownTimeout` the process is ended, whatever still runs. A second SIGTERM, and SIGINT, end it at
///   once, with status 1. These hold although every job hangs.
/// - SIGHUP restarts the services or lets them take up new settings, as `restartMethod` says.
/// - A service that fails to start is stopped again with those before it, and the status is 1.
///
/// Upstream: `ServiceLauncher`.
public final class ServiceLauncher: Sendable, BackendComponent {
    /// The component's name.
    public static let componentName = "ServiceLauncher"

    private struct State {
        var machine = LaunchState()
        var hasBegun = false
        var subscriptions: [SignalCenter.Subscription] = []
        var deadline: EventLoop.ScheduledAction?
        var failure: (any Error)?
        var onReady: [@Sendable () -> Void] = []
    }

    /// The services.
    public let services: Services
    /// The metrics and health checks of the process; where applications register checks of their own.
    public let monitoring: Monitoring

    private let backend: Backend
    private let settings: MusterSettings
    private let logger: Logger
    private let exitNow: @Sendable (ExitStatus) -> Void
    private let signals: CounterFamily
    private let state = Locked(State())
    private let over = Completion<ExitStatus>()

    /// Creates a launcher without services.
    ///
    /// - Parameters:
    ///   - name: The name of what is launched, the value of the label `worker_group`.
    ///   - settings: What can be set about the runtime.
    ///   - backend: The backend to run on; the selected one when `nil`.
    ///   - logger: Where it logs.
    /// - Throws: ``BackendError`` when no backend can be selected; `ArenaError` or `MetricError` when its metrics
    ///   cannot be exported.
    public convenience init(
        name: String, settings: MusterSettings = MusterSettings(), backend: Backend? = nil,
        logger: Logger = Logger(label: "muster.launcher")
    ) throws {
        try self.init(
            name: name, settings: settings, backend: backend, logger: logger,
            exitNow: { cmuster_exit_now($0.rawValue) })
    }

    package init(
        name: String, settings: MusterSettings, backend: Backend?, logger: Logger,
        exitNow: @escaping @Sendable (ExitStatus) -> Void
    ) throws {
        let backend = try backend ?? Backend.current
        self.backend = backend
        self.settings = settings
        self.logger = logger
        self.exitNow = exitNow
        services = try Services(backend: backend)
        monitoring = try Monitoring(backend: backend, workerGroup: name, settings: settings, logger: logger)
        signals = try backend.metrics.counterFamily(
            "muster_signals_total", help: "Signals received.", labelNames: ["signal"])
        for signal in [UnixSignal.terminate, .interrupt, .hangUp] {
            signals.labels(signal.description).increment(by: 0)
        }
        try monitoring.health.register(
            .probe("services", .ready, .startup) { [weak self] in
                self?.readiness ?? .fail("the launcher is gone")
            })
    }

    // MARK: Before the start

    /// Adds a service; services start in the order in which they were added.
    ///
    /// - Parameters:
    ///   - service: The service.
    ///   - workers: The number of workers, which must be 1: this launcher runs services in its own process.
    /// - Throws: ``ServicesError``.
    public func launchService(_ service: any ServiceBase, workers: Int = 1) throws(ServicesError) {
        guard workers == 1 else {
            throw .workersNotSupported(service: service.name, workers: workers)
        }
        try services.register(service)
    }

    /// Registers what is to be done once all services have started; done at once when they have.
    ///
    /// - Parameter action: What to do; it must not block.
    public func whenReady(_ action: @escaping @Sendable () -> Void) {
        let isReady = state.withLock { state in
            if !state.machine.isReady { state.onReady.append(action) }
            return state.machine.isReady
        }
        if isReady { action() }
    }

    private var readiness: HealthResult {
        switch state.withLock({ $0.machine.phase }) {
        case .running: .pass
        case .starting: .fail("services are starting")
        case .restarting: .fail("services are restarting")
        case .stopping: .fail("shutdown has begun")
        case .finished: .fail("shutdown is over")
        }
    }

    /// What kept the services from starting, or the endpoint from serving.
    public var failure: (any Error)? { state.withLock { $0.failure } }

    // MARK: Running

    /// Runs the services until the process is told to end. To be called from a synchronous `main`.
    ///
    /// The main thread meanwhile serves `MainActor` code, and on the cooperative backend it is the hub, so that the
    /// process gets by with one thread for all jobs.
    ///
    /// - Returns: The status that the process should exit with.
    public func wait() -> ExitStatus {
        guard takeUp() else { return refuse(ServicesError.alreadyStarted) }
        do {
            let loop = try loopForThisThread()
            if NativeThread.isMain { try loop.serveMainQueue() }
            begin()
            over.whenComplete { _ in loop.leave() }
            try loop.run()
        } catch {
            return refuse(error)
        }
        return over.value ?? .failure
    }

    /// Runs the services until the process is told to end, or the calling task is cancelled. To be called from an
    /// asynchronous `main`.
    ///
    /// - Returns: The status that the process should exit with.
    public func run() async -> ExitStatus {
        guard takeUp() else { return refuse(ServicesError.alreadyStarted) }
        begin()
        return await withTaskCancellationHandler {
            // Its own end is what is waited for, however the task fares: a cancelled task stops the launcher.
            await withCheckedContinuation { continuation in
                over.whenComplete { continuation.resume(returning: $0) }
            }
        } onCancel: {
            stop()
        }
    }

    /// Ends gracefully, as SIGTERM does. May be called from anywhere, any number of times.
    ///
    /// - Parameter status: What the process should exit with.
    public func stop(_ status: ExitStatus = .success) {
        handle(.end(status))
    }

    /// Restarts the services or lets them take up new settings, as SIGHUP does.
    public func restart() {
        handle(.hangUp)
    }

    private func refuse(_ error: any Error) -> ExitStatus {
        logger.critical("cannot run", metadata: ["error": "\(error)"])
        state.withLock { $0.failure = $0.failure ?? error }
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
            try monitoring.start()
        } catch {
            return fail(error)
        }
        transition("start") { [self] in
            try await services.start()
            handle(.started)
        }
    }

    private func subscribe() throws {
        let events: [(UnixSignal, LaunchState.Event)] = [
            (.terminate, .terminate), (.interrupt, .interrupt), (.hangUp, .hangUp),
        ]
        for (signal, event) in events {
            let counter = signals.labels(signal.description)
            let subscription = try SignalCenter.shared.subscribe(signal) { [weak self, logger] signal in
                counter.increment()
                logger.info("caught a signal", metadata: ["signal": "\(signal)"])
                self?.handle(event)
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
        logger.critical("cannot run", metadata: ["error": "\(error)"])
        state.withLock { $0.failure = $0.failure ?? error }
        handle(.startFailed)
    }

    // MARK: Events in, actions out

    private func handle(_ event: LaunchState.Event) {
        let (action, onReady) = state.withLock { state in
            let action = state.machine.handle(event)
            // As one with the change of phase, so that a start under way starts nothing after it.
            if action == .stop { services.refuseStarts() }
            guard state.machine.isReady else { return (action, [@Sendable () -> Void]()) }
            defer { state.onReady = [] }
            return (action, state.onReady)
        }
        for action in onReady { action() }
        switch action {
        case nil: break
        case .stop: stopServices()
        case .restart: restartServices()
        case .finish(let status): finish(status)
        case .exitNow(let status, let reason):
            logger.critical("ending at once", metadata: ["reason": "\(reason)", "status": "\(status)"])
            exitNow(status)
            finish(status)
        }
    }

    private func restartServices() {
        logger.info("restarting services", metadata: ["method": "\(settings.restartMethod.rawValue)"])
        transition("restart") { [self] in
            try await services.restart(settings.restartMethod, until: shutdownDeadline)
            handle(.restarted)
        }
    }

    private var shutdownDeadline: MonotonicInstant? {
        let timeout = settings.gracefulShutdownTimeout
        return timeout > .zero ? backend.engine.clock.now.advanced(by: timeout) : nil
    }

    private func stopServices() {
        logger.info("stopping services")
        let timeout = settings.gracefulShutdownTimeout
        if timeout > .zero {
            // On a thread that runs no job: it holds although every job hangs.
            EventLoop.auxiliary.submit { [self] in
                let deadline = EventLoop.auxiliary.schedule(at: .now.advanced(by: timeout)) { [weak self] in
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
            logger.error("services cannot be stopped", metadata: ["error": "\(error)"])
            handle(.stopped)
        }
    }

    private func disarm() {
        let deadline = state.withLock { state in state.deadline.take() }
        if let deadline { EventLoop.auxiliary.cancel(deadline) }
    }

    private func finish(_ status: ExitStatus) {
        let subscriptions = state.withLock { state in
            defer { state.subscriptions = [] }
            return state.subscriptions
        }
        for subscription in subscriptions { SignalCenter.shared.unsubscribe(subscription) }
        monitoring.stop()
        logger.info("stopped", metadata: ["status": "\(status)"])
        over.complete(with: status)
        EventLoop.auxiliary.submit { [self] in disarm() }
    }
}
