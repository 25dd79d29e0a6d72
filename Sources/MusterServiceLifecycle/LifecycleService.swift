// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
public import Logging
public import Muster
import MusterExecution
import MusterLock
public import MusterPlatform
public import ServiceLifecycle

/// Runs a service of swift-service-lifecycle as it is, for example a Hummingbird application, under any launcher.
///
/// ```swift
/// let launcher = try ProcessLauncher()
/// try launcher.launchService(LifecycleService(name: "api") { MyApplication() }, workers: 4)
/// launcher.wait().exit()
/// ```
///
/// - Starting makes the service and runs it in a thread of its group. It has started once `run()` has been entered
///   or, where the service is given a ``StartReporter``, once it has reported so.
/// - Stopping gracefully shuts it down gracefully (`gracefulShutdown()`, `withGracefulShutdownHandler`) and waits; at
///   the deadline it is cancelled. Stopping otherwise cancels it at once. A `CancellationError` is then no error.
/// - A `run()` that throws once it has started, or returns without being told to, ends the launcher, and in a worker
///   the process: with status 1 or 0, which the restart policy then judges.
/// - A restart in place makes the service anew: most services cannot be run twice.
public final class LifecycleService: ServiceBase {
    private struct State {
        var run: LifecycleRun?
        var onEnd: [@Sendable (ServiceEnd) -> Void] = []
    }

    /// The service's name.
    public let name: String
    /// The group in whose thread `run()` runs.
    public let threadGroup: ThreadGroup

    private let placement: LifecyclePlacement
    private let maximumGracefulShutdownDuration: Duration?
    private let logger: Logger
    private let reportsStart: Bool
    private let make: @Sendable (StartReporter) async throws -> any ServiceLifecycle.Service
    private let state = Locked(State())

    private init(
        name: String, placement: LifecyclePlacement, maximumGracefulShutdownDuration: Duration?, backend: Backend?,
        logger: Logger, reportsStart: Bool,
        make: @escaping @Sendable (StartReporter) async throws -> any ServiceLifecycle.Service
    ) {
        self.name = name
        self.placement = placement
        self.maximumGracefulShutdownDuration = maximumGracefulShutdownDuration
        self.logger = logger.queued
        self.reportsStart = reportsStart
        self.make = make
        threadGroup = ThreadGroup(name: name, backend: backend)
    }

    /// Creates a service that counts as started as soon as its `run()` is entered.
    ///
    /// - Parameters:
    ///   - name: The service's name, and its thread group's.
    ///   - placement: Where `run()` runs.
    ///   - maximumGracefulShutdownDuration: How long a graceful shutdown may take before the service is cancelled,
    ///     whatever the launcher's deadline is; `nil` for the launcher's alone.
    ///   - backend: The backend to run on; the selected one when `nil`.
    ///   - logger: Where swift-service-lifecycle logs.
    ///   - make: Makes the service: at each start, in a worker and not in its supervisor.
    public convenience init(
        name: String, placement: LifecyclePlacement = .backend, maximumGracefulShutdownDuration: Duration? = nil,
        backend: Backend? = nil, logger: Logger = Logger(label: "muster.lifecycle"),
        make: @escaping @Sendable () async throws -> any ServiceLifecycle.Service
    ) {
        self.init(
            name: name, placement: placement, maximumGracefulShutdownDuration: maximumGracefulShutdownDuration,
            backend: backend, logger: logger, reportsStart: false, make: { _ in try await make() })
    }

    /// Creates a service that reports when it has started. Until then its worker is not ready, and an error of
    /// `run()` is a failed start.
    ///
    /// - Parameters:
    ///   - name: The service's name, and its thread group's.
    ///   - placement: Where `run()` runs.
    ///   - maximumGracefulShutdownDuration: How long a graceful shutdown may take before the service is cancelled,
    ///     whatever the launcher's deadline is; `nil` for the launcher's alone.
    ///   - backend: The backend to run on; the selected one when `nil`.
    ///   - logger: Where swift-service-lifecycle logs.
    ///   - make: Makes the service: at each start, in a worker and not in its supervisor. The service calls
    ///     ``StartReporter/report()`` once it serves.
    public convenience init(
        name: String, placement: LifecyclePlacement = .backend, maximumGracefulShutdownDuration: Duration? = nil,
        backend: Backend? = nil, logger: Logger = Logger(label: "muster.lifecycle"),
        make: @escaping @Sendable (StartReporter) async throws -> any ServiceLifecycle.Service
    ) {
        self.init(
            name: name, placement: placement, maximumGracefulShutdownDuration: maximumGracefulShutdownDuration,
            backend: backend, logger: logger, reportsStart: true, make: make)
    }

    /// Makes the service and runs it; returns once it has started.
    ///
    /// - Throws: What making it throws; what `run()` throws before the service has started;
    ///   ``LifecycleServiceError/endedBeforeStart(service:)``; as `ThreadGroup.addThread(name:_:)`.
    public func start() async throws {
        let reporter = StartReporter(started: Completion())
        let service = try await make(reporter)
        let entered = EnteredService(service: service, placement: placement) { [reportsStart] in
            if !reportsStart { reporter.report() }
        }
        let run = LifecycleRun(
            service: entered, name: name, maximumGracefulShutdownDuration: maximumGracefulShutdownDuration,
            logger: logger, started: reporter.started)
        state.withLock { $0.run = run }
        let job = try await threadGroup.addThread(name: "run") { [self] in try await go(run) }
        // A thread that is cancelled before it has begun says nothing else.
        job.link { outcome in run.started.complete(with: .failure(outcome.error ?? CancellationError())) }
        try await run.started.wait().get()
    }

    private func go(_ run: LifecycleRun) async throws {
        do {
            try await run.group.run()
        } catch let error where !(run.isStopping && error is CancellationError) {
            if run.fail(error), !Task.isCancelled { tell(.failed(error)) }
            throw error
        } catch {
            return
        }
        let hadStarted = !run.started.complete(
            with: .failure(LifecycleServiceError.endedBeforeStart(service: name)))
        if hadStarted, !run.isStopping, !Task.isCancelled { tell(.finished) }
    }

    private func tell(_ end: ServiceEnd) {
        for action in state.withLock({ $0.onEnd }) { action(end) }
    }

    /// Stops the service.
    ///
    /// - Parameters:
    ///   - graceful: Whether to shut it down gracefully; otherwise it is cancelled.
    ///   - deadline: The latest end, at which it is cancelled; `nil` for none.
    /// - Throws: What `run()` throws meanwhile; `TimeLimitExceeded` at the deadline; `CancellationError` when the
    ///   calling task is cancelled.
    public func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        let run = state.withLock { $0.run }
        if let run {
            run.beginStop()
            if graceful { await run.group.triggerGracefulShutdown() }
        }
        try await threadGroup.stop(graceful: graceful, until: deadline)
        if let error = run?.stopFailure { throw error }
    }

    /// Waits until `run()` is over.
    ///
    /// - Throws: What `run()` has thrown; `CancellationError` when the calling task is cancelled.
    public func wait() async throws {
        try await threadGroup.wait()
        if let error = state.withLock({ $0.run })?.failure { throw error }
    }

    /// Registers who is told when `run()` throws or returns after the start, without having been told to.
    public func whenEnded(_ action: @escaping @Sendable (ServiceEnd) -> Void) {
        state.withLock { $0.onEnd.append(action) }
    }
}

/// By which a service says that it has started: swift-service-lifecycle itself has no such notion.
///
/// ```swift
/// LifecycleService(name: "api") { started in
///     Application(router: router, onServerRunning: { _ in started.report() })
/// }
/// ```
public struct StartReporter: Sendable {
    let started: Completion<Result<Void, any Error>>

    /// The service has started: it serves. Reporting again changes nothing.
    public func report() {
        started.complete(with: .success(()))
    }
}

/// Where a service's `run()`, and the child tasks that it makes, run.
public enum LifecyclePlacement: Sendable {
    /// On the backend: the job's own thread on the threading backend, the hub on the cooperative one. One thread for
    /// the whole service, which what blocks stalls; on the cooperative backend the supervisor sees that.
    case backend
    /// On Swift's global pool, as in a program without Muster: as many threads as there are processors. What blocks
    /// them is not seen as a hang.
    case globalPool
}

/// Why a service of swift-service-lifecycle, or a launcher as one, has ended otherwise than it should.
public enum LifecycleServiceError: Error, Sendable, CustomStringConvertible {
    /// `run()` returned before the service had reported that it had started.
    case endedBeforeStart(service: String)
    /// A launcher has ended with a status that is not success.
    case launcherFailed(status: Int32)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .endedBeforeStart(let service):
            """
            run() of service '\(service)' returned before it had reported its start: call report() of the \
            StartReporter once it serves, or create it without one
            """
        case .launcherFailed(let status):
            "the launcher has ended with status \(status): its log says why"
        }
    }
}

/// Tells that a service's `run()` is about to be entered, and runs it where it belongs.
struct EnteredService: ServiceLifecycle.Service {
    let service: any ServiceLifecycle.Service
    let placement: LifecyclePlacement
    let entered: @Sendable () -> Void

    func run() async throws {
        entered()
        switch placement {
        case .backend: try await service.run()
        case .globalPool:
            try await withTaskExecutorPreference(globalConcurrentExecutor) { try await service.run() }
        }
    }
}

/// One run of a service, from its start to its end.
final class LifecycleRun: Sendable {
    private struct State {
        var isStopping = false
        var failure: (any Error)?
        /// The error of a run that was being stopped.
        var stopFailure: (any Error)?
    }

    /// Holds nothing but the service, and takes no signals: it is how the service learns of a graceful shutdown.
    let group: ServiceGroup
    let started: Completion<Result<Void, any Error>>

    private let state = Locked(State())

    init(
        service: EnteredService, name: String, maximumGracefulShutdownDuration: Duration?, logger: Logger,
        started: Completion<Result<Void, any Error>>
    ) {
        self.started = started
        var configuration = ServiceGroupConfiguration(
            services: [
                ServiceGroupConfiguration.ServiceConfiguration(
                    service: service, successTerminationBehavior: .gracefullyShutdownGroup,
                    failureTerminationBehavior: .cancelGroup, serviceName: name)
            ],
            logger: logger)
        if let maximumGracefulShutdownDuration {
            configuration.maximumGracefulShutdownDuration = maximumGracefulShutdownDuration
        }
        group = ServiceGroup(configuration: configuration)
    }

    var isStopping: Bool { state.withLock { $0.isStopping } }

    var failure: (any Error)? { state.withLock { $0.failure } }

    var stopFailure: (any Error)? { state.withLock { $0.stopFailure } }

    func beginStop() {
        state.withLock { $0.isStopping = true }
    }

    /// Notes an error of `run()`.
    ///
    /// - Returns: Whether the service had started, and nobody was stopping it.
    func fail(_ error: any Error) -> Bool {
        let hadStarted = !started.complete(with: .failure(error))
        return state.withLock { state in
            state.failure = error
            if state.isStopping { state.stopFailure = error }
            return hadStarted && !state.isStopping
        }
    }
}

/// Launches a service of swift-service-lifecycle, with settings from the program's arguments and environment: in the
/// calling process for one worker, in supervised worker processes for more.
///
/// A service that cannot be run twice, or that is to say when it has started, is launched as a ``LifecycleService``.
///
/// - Parameters:
///   - service: The service.
///   - name: Its name; its type's when `nil`.
///   - workers: The number of workers; 1 for the calling process.
///   - placement: Where `run()` runs.
///   - restartMethod: What SIGHUP does; what the settings say when `nil`.
///   - settings: What can be set about the runtime; read from arguments and environment when `nil`.
/// - Throws: As `Muster.launch(_:workers:restartMethod:settings:)`.
public func launch(
    _ service: any ServiceLifecycle.Service, name: String? = nil, workers: Int = 1,
    placement: LifecyclePlacement = .backend, restartMethod: RestartMethod? = nil, settings: MusterSettings? = nil
) throws -> any MainLauncher {
    try Muster.launch(
        LifecycleService(name: name ?? String(describing: type(of: service)), placement: placement) { service },
        workers: workers, restartMethod: restartMethod, settings: settings)
}
#endif
