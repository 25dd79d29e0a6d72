// SPDX-License-Identifier: Apache-2.0

public import Logging
import MusterEndpoint
public import MusterHealth
import MusterLock
import MusterMetrics
public import MusterPlatform
public import MusterSupervision

/// Runs each launched service in a number of worker processes, and supervises them.
///
/// The process that you start is the supervisor. It starts the same program again for each worker, so everything up to
/// ``wait()`` happens in all of them and must launch the same services and open the same sockets. ``Worker/current``
/// tells the processes apart. A service's `start()` is called in its workers only.
///
/// - A worker that exits or hangs is replaced; the reason is counted and logged.
/// - Listening sockets of ``listen(_:on:setting:backlog:)`` stay open in the supervisor, so that no connection is refused
///   while a worker is replaced.
/// - SIGTERM begins a graceful shutdown: readiness fails, after `shutdownDelay` the workers are stopped, and after
///   `gracefulShutdownTimeout` the remaining ones are killed. A second SIGTERM, or SIGINT, kills all at once; the exit
///   status is 1.
/// - SIGHUP replaces the workers one by one, or lets them take up new settings in place, as `restartMethod` says.
/// - SIGTTIN and SIGTTOU add and remove a worker of each service, SIGUSR2 writes a report to the log.
public final class ProcessLauncher: MainLauncher, BackendComponent {
    private let program: any LaunchedProgram
    private let launched = LaunchedServices()
    private let sockets: SocketTable

    /// Creates a launcher without services.
    ///
    /// - Parameters:
    ///   - settings: The settings of the runtime.
    ///   - restartMethod: What SIGHUP does, whatever the settings say; as they say when `nil`.
    ///   - reloadSettings: Reads the settings again on SIGHUP; from where `settings` came when `nil`. When it throws,
    ///     the previous settings stay, nothing is reloaded, and the error is logged.
    ///   - backend: The backend of the workers; the selected one when `nil`. The supervisor needs none.
    ///   - logger: Where supervisor and workers log.
    /// - Throws: `ArenaError`, `HealthError` or `MetricError` when it cannot be monitored.
    public init(
        settings: MusterSettings = MusterSettings(), restartMethod: RestartMethod? = nil,
        reloadSettings: (@Sendable () throws -> MusterSettings)? = nil, backend: Backend? = nil,
        logger: Logger = Logger(label: "muster.launcher")
    ) throws {
        let logger = logger.queued
        var settings = settings
        switch WorkerMarker.current {
        case .none:
            sockets = SocketTable()
            settings.source = reloadSettings ?? settings.source
            settings.fix(restartMethod)
            program = try SupervisorProgram(settings: settings, launched: launched, sockets: sockets, logger: logger)
        case .worker(let marker):
            LogQueue.shared.saveThread()
            sockets = SocketTable(inherited: marker)
            settings.fix(restartMethod)
            program = try WorkerProgram(
                marker: marker, settings: settings, launched: launched, sockets: sockets, backend: backend,
                logger: logger)
        case .orphan:
            logger.notice("supervisor is gone; exiting")
            ExitStatus.failure.exit()
        }
    }

    /// As ``init(settings:restartMethod:reloadSettings:backend:logger:)``; `waitInterval` has no effect, because nothing polls.
    @available(*, deprecated, message: "waitInterval has no effect: the supervisor is event-driven")
    public convenience init(
        settings: MusterSettings = MusterSettings(), waitInterval: Duration,
        logger: Logger = Logger(label: "muster.launcher")
    ) throws {
        logger.warning("waitInterval has no effect: the supervisor is event-driven")
        try self.init(settings: settings, restartMethod: nil, logger: logger)
    }

    // MARK: Before the start

    /// The application's health checks, which run in the workers and report to the supervisor. Checks that are
    /// registered here before ``wait()`` are expected of every worker.
    public var health: HealthRegistry { program.health }

    /// The supervisor's metrics and health checks, which the endpoint serves. A worker's own are not served.
    public var monitoring: Monitoring { program.monitoring }

    /// Opens a listening socket in the supervisor; in a worker, returns the inherited one.
    ///
    /// - Parameters:
    ///   - name: Identifies the socket in supervisor and workers.
    ///   - address: An address of TCP, a Unix socket, or a socket that systemd has opened.
    ///   - setting: The name of the address' setting, for error messages.
    ///   - backlog: How many connections may wait to be accepted.
    /// - Returns: The socket. Its descriptor is non-blocking. Once its worker stops, waiting for it ends and accepting
    ///   fails with `EINVAL`.
    /// - Throws: ``LaunchError``; `ListenError` when the address is not available.
    @discardableResult
    public func listen(
        _ name: String, on address: ListenAddress, setting: String = "the address", backlog: Int32 = 1024
    ) throws -> ListeningSocket {
        try sockets.listen(name, on: address, setting: setting, backlog: backlog)
    }

    /// Adds a service that will run in worker processes. Its name is the value of the label `worker_group`.
    public func launchService(
        _ service: any ServiceBase, workers: Int = 1, options: WorkerOptions = WorkerOptions()
    ) throws(LaunchError) {
        try launched.add(LaunchedService(service: service, workers: workers, options: options))
    }

    /// Calls a closure, in the supervisor, once every worker is ready; at once when they are. Does nothing in a worker.
    public func whenReady(_ action: @escaping @Sendable () -> Void) {
        supervisor?.life.whenReady(action)
    }

    /// The error that ended the launcher, if any.
    package var failure: (any Error)? { program.failure }

    // MARK: Running

    /// Supervises the workers until the process is told to stop; in a worker, runs its service. To be called from a
    /// synchronous `main`.
    public func wait() -> ExitStatus {
        launched.close()
        return program.wait()
    }

    /// Supervises the workers until the process is told to stop or the calling task is cancelled; in a worker, runs
    /// its service. To be called from an asynchronous `main`.
    public func run() async -> ExitStatus {
        launched.close()
        return await program.run()
    }

    /// Shuts down gracefully, as SIGTERM does. May be called from anywhere, any number of times.
    public func stop(_ status: ExitStatus = .success) {
        program.stop(status)
    }

    /// Reloads, as SIGHUP does.
    public func restart() {
        program.restart()
    }

    /// Replaces one worker: a new one is started, and the old one stops gracefully when that is ready. If it does not
    /// become ready, the old one stays. Counted as `requested`.
    ///
    /// Does nothing in a worker, and for a slot that does not exist.
    public func replaceWorker(of service: String, slot: Int) throws(LaunchError) {
        let group = try group(of: service)
        supervisor?.life.submit(.replace(WorkerID(group: group, slot: slot)))
    }

    /// Changes the number of a service's workers. The last call counts; surplus workers stop gracefully.
    ///
    /// Does nothing in a worker.
    public func scale(_ service: String, to workers: Int) throws(LaunchError) {
        guard workers >= 0 else { throw .tooFewWorkers(workers) }
        let group = try group(of: service)
        supervisor?.life.submit(.scale(group: group, to: workers))
    }

    private func group(of service: String) throws(LaunchError) -> Int {
        guard let group = launched.index(of: service) else {
            throw .notLaunched(service, launched: launched.names)
        }
        return group
    }

    private var supervisor: SupervisorProgram? { program as? SupervisorProgram }
}

/// The part of a ``ProcessLauncher`` that differs between supervisor and worker.
protocol LaunchedProgram: AnyObject, Sendable {
    var health: HealthRegistry { get }
    var monitoring: Monitoring { get }
    var failure: (any Error)? { get }
    func wait() -> ExitStatus
    func run() async -> ExitStatus
    func stop(_ status: ExitStatus)
    func restart()
}

struct LaunchedService: Sendable {
    var service: any ServiceBase
    var workers: Int
    var options: WorkerOptions
}

/// The services of a ``ProcessLauncher`` in the order of the calls, which identifies the groups in every process.
final class LaunchedServices: Sendable {
    private struct State {
        var services: [LaunchedService] = []
        var isClosed = false
    }

    private let state = Locked(State())

    func add(_ launched: LaunchedService) throws(LaunchError) {
        guard launched.workers >= 1 else { throw .tooFewWorkers(launched.workers) }
        guard launched.options.warmSpares >= 0 else { throw .negativeWarmSpares(launched.options.warmSpares) }
        let name = launched.service.name
        try state.withLock { state throws(LaunchError) in
            if state.isClosed { throw .alreadyStarted("service '\(name)'") }
            if state.services.contains(where: { $0.service.name == name }) { throw .nameTaken(name) }
            state.services.append(launched)
        }
    }

    /// Refuses further services.
    func close() {
        state.withLock { $0.isClosed = true }
    }

    var all: [LaunchedService] { state.withLock { $0.services } }

    var names: [String] { all.map(\.service.name) }

    func index(of name: String) -> Int? {
        all.firstIndex { $0.service.name == name }
    }
}

/// How the workers of a service are supervised.
public struct WorkerOptions: Sendable {
    /// When a worker that exited is restarted.
    package var restartPolicy: RestartPolicy
    /// How many processes are kept ready to take over a slot: started, but without the service. Each takes memory, and
    /// lets a replacement start sooner.
    package var warmSpares: Int
    /// The delay before a restart; the settings' when `nil`.
    package var backoff: RestartBackoff?
    /// How many restarts are tolerated; the settings' when `nil`.
    package var intensity: RestartIntensity?
    /// When a worker is replaced although nothing is wrong with it; the settings' when `nil`.
    package var recycle: RecyclePolicy?

    /// Creates options.
    public init(
        restartPolicy: RestartPolicy = .always, warmSpares: Int = 0, backoff: RestartBackoff? = nil,
        intensity: RestartIntensity? = nil, recycle: RecyclePolicy? = nil
    ) {
        self.restartPolicy = restartPolicy
        self.warmSpares = warmSpares
        self.backoff = backoff
        self.intensity = intensity
        self.recycle = recycle
    }
}
