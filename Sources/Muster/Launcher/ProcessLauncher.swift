// SPDX-License-Identifier: Apache-2.0

public import Logging
import MusterEndpoint
public import MusterHealth
import MusterMetrics
public import MusterPlatform
public import MusterSupervision

/// Runs each launched service as a number of worker processes, and supervises them.
///
/// The program is started once, by whoever runs it; that process is the supervisor. It starts the same program again
/// for each worker, so everything up to ``wait()`` happens in all of them: what is launched and listened on must be
/// the same in each. ``Worker/current`` tells them apart. A service's `start()` is called in its workers only.
///
/// - A worker that dies or makes no progress is replaced; why is counted and logged.
/// - Listening sockets that ``listen(_:on:setting:backlog:)`` opens stay open in the supervisor, so that no connection is
///   refused while a worker is replaced.
/// - SIGTERM ends gracefully: readiness goes off, after `shutdownDelay` the workers are told to stop, and what is left
///   after `gracefulShutdownTimeout` is killed. A second SIGTERM, and SIGINT, end everything at once, with status 1.
/// - SIGHUP replaces the workers one by one, or lets them take up new settings in place, as `restartMethod` says.
/// - SIGTTIN and SIGTTOU add and remove a worker of each service, SIGUSR2 writes a report to the log.
public final class ProcessLauncher: MainLauncher, BackendComponent {
    /// The component's name.
    public static let componentName = "ProcessLauncher"

    private enum Role {
        case supervisor(SupervisorProgram)
        case worker(WorkerProgram)
    }

    private let role: Role
    private let launched: LaunchedServices
    private let sockets: SocketTable

    /// Creates a launcher of nothing yet.
    ///
    /// - Parameters:
    ///   - settings: What can be set about the runtime.
    ///   - reloadSettings: Reads the settings anew on SIGHUP; from the file that `settings` were read from when
    ///     `nil`. When it throws, the old settings stay, nothing is reloaded, and the log says why.
    ///   - backend: The backend of the workers; the selected one when `nil`. The supervisor needs none.
    /// - Throws: `ArenaError`, `HealthError` or `MetricError` when it cannot be watched.
    public init(
        settings: MusterSettings = MusterSettings(), reloadSettings: (@Sendable () throws -> MusterSettings)? = nil,
        backend: Backend? = nil,
        logger: Logger = Logger(label: "muster.launcher")
    ) throws {
        let launched = LaunchedServices()
        let source = reloadSettings ?? settings.source
        self.launched = launched
        switch WorkerMarker.current {
        case .none:
            sockets = SocketTable()
            role = .supervisor(
                try SupervisorProgram(
                    settings: settings, source: source, launched: launched, sockets: sockets, logger: logger))
        case .worker(let marker):
            sockets = SocketTable(inherited: marker)
            role = .worker(
                try WorkerProgram(
                    marker: marker, settings: settings, launched: launched, sockets: sockets, backend: backend,
                    logger: logger))
        case .orphan:
            logger.notice("supervisor is gone; exiting")
            ExitStatus.failure.exit()
        }
    }

    /// As ``init(settings:reloadSettings:backend:logger:)``; `waitInterval` has no effect, because nothing polls.
    @available(*, deprecated, message: "waitInterval has no effect: the supervisor is event-driven")
    public convenience init(
        settings: MusterSettings = MusterSettings(), waitInterval: Duration,
        logger: Logger = Logger(label: "muster.launcher")
    ) throws {
        logger.warning("waitInterval has no effect: the supervisor is event-driven")
        try self.init(settings: settings, reloadSettings: nil, backend: nil, logger: logger)
    }

    // MARK: Before the start

    /// The application's health checks, which run in the workers and report to the supervisor. What is registered
    /// here before ``wait()`` is expected of every worker.
    public var health: HealthRegistry {
        switch role {
        case .supervisor(let supervisor): supervisor.announcedHealth
        case .worker(let worker): worker.health
        }
    }

    /// The supervisor's metrics and health checks, which the endpoint serves. In a worker they are the worker's own,
    /// and nobody serves them.
    public var monitoring: Monitoring {
        switch role {
        case .supervisor(let supervisor): supervisor.monitoring
        case .worker(let worker): worker.monitoring
        }
    }

    /// Opens a listening socket in the supervisor; in a worker, finds the one it has inherited.
    ///
    /// - Parameters:
    ///   - name: A name, by which supervisor and workers mean the same socket.
    ///   - address: Where to listen: TCP over either version of IP, a Unix socket, or a socket that systemd has opened.
    ///   - setting: What the address' setting is called, for messages.
    ///   - backlog: How many connections may wait to be accepted.
    /// - Returns: The socket. Its descriptor is non-blocking. Once a worker begins to end, nobody listens by it any
    ///   more: accepting fails with `EINVAL`.
    /// - Throws: ``LaunchError``; `ListenError` when the address cannot be had.
    @discardableResult
    public func listen(
        _ name: String, on address: ListenAddress, setting: String = "the address", backlog: Int32 = 1024
    ) throws -> ListeningSocket {
        try sockets.listen(name, on: address, setting: setting, backlog: backlog)
    }

    /// Adds a service that will run in worker processes.
    ///
    /// - Parameters:
    ///   - service: The service. Its name is the value of the label `worker_group`.
    ///   - workers: The number of workers, 1 or more.
    ///   - options: How they are looked after.
    /// - Throws: ``LaunchError``.
    public func launchService(
        _ service: any ServiceBase, workers: Int = 1, options: WorkerOptions = WorkerOptions()
    ) throws(LaunchError) {
        try launched.add(LaunchedService(service: service, workers: workers, options: options))
    }

    /// Registers what is to be done, in the supervisor, once every worker is ready; done at once when they are. In a
    /// worker it does nothing.
    public func whenReady(_ action: @escaping @Sendable () -> Void) {
        if case .supervisor(let supervisor) = role { supervisor.life.whenReady(action) }
    }

    /// What has ended the launcher, when something has.
    public var failure: (any Error)? {
        switch role {
        case .supervisor(let supervisor): supervisor.life.failure
        case .worker(let worker): worker.life.failure
        }
    }

    // MARK: Running

    /// Supervises the workers until the process is told to end; in a worker, runs its service. To be called from a
    /// synchronous `main`.
    public func wait() -> ExitStatus {
        launched.close()
        switch role {
        case .supervisor(let supervisor): return supervisor.wait()
        case .worker(let worker): return worker.wait()
        }
    }

    /// Supervises the workers until the process is told to end or the calling task is cancelled; in a worker, runs
    /// its service. To be called from an asynchronous `main`.
    public func run() async -> ExitStatus {
        launched.close()
        switch role {
        case .supervisor(let supervisor): return await supervisor.run()
        case .worker(let worker): return await worker.run()
        }
    }

    /// Ends gracefully, as SIGTERM does. May be called from anywhere, any number of times.
    public func stop(_ status: ExitStatus = .success) {
        switch role {
        case .supervisor(let supervisor): supervisor.life.submit(.end(status: status.rawValue))
        case .worker(let worker): worker.life.submit(.end(status))
        }
    }

    /// Reloads, as SIGHUP does.
    public func restart() {
        switch role {
        case .supervisor(let supervisor): supervisor.reload()
        case .worker(let worker): worker.life.submit(.hangUp)
        }
    }

    /// Replaces one worker: it is stopped gracefully, and a new one is started in its slot. Counted as `requested`.
    ///
    /// Does nothing in a worker, and for a slot that does not exist.
    public func replaceWorker(of service: String, slot: Int) throws(LaunchError) {
        guard let group = launched.index(of: service) else {
            throw .notLaunched(service, launched: launched.names)
        }
        if case .supervisor(let supervisor) = role {
            supervisor.life.submit(.replace(WorkerID(group: group, slot: slot)))
        }
    }

    /// Changes the number of a service's workers. What comes last counts; surplus workers finish what they have.
    ///
    /// Does nothing in a worker.
    public func scale(_ service: String, to workers: Int) throws(LaunchError) {
        guard workers >= 0 else { throw .tooFewWorkers(workers) }
        guard let group = launched.index(of: service) else {
            throw .notLaunched(service, launched: launched.names)
        }
        if case .supervisor(let supervisor) = role { supervisor.life.submit(.scale(group: group, to: workers)) }
    }
}

/// One service, as it was launched.
struct LaunchedService: Sendable {
    var service: any ServiceBase
    var workers: Int
    var options: WorkerOptions
}

/// What a ``ProcessLauncher`` is to run. The order is that of the calls; it names the groups in every process.
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

    /// Nothing is added any more.
    func close() {
        state.withLock { $0.isClosed = true }
    }

    var all: [LaunchedService] { state.withLock { $0.services } }

    var names: [String] { all.map(\.service.name) }

    func index(of name: String) -> Int? {
        all.firstIndex { $0.service.name == name }
    }
}

/// How the workers of one launched service are looked after.
public struct WorkerOptions: Sendable {
    /// Which ends of a worker are followed by a new one.
    public var restartPolicy: RestartPolicy
    /// How many processes are kept ready to take over a slot: started, with the service not started. Each takes
    /// memory, and makes a replacement run its first line sooner.
    public var warmSpares: Int
    /// How long to wait before a worker is started again; the settings' when `nil`.
    public var backoff: RestartBackoff?
    /// How many restarts are put up with; the settings' when `nil`.
    public var intensity: RestartIntensity?

    /// Creates options.
    public init(
        restartPolicy: RestartPolicy = .always, warmSpares: Int = 0, backoff: RestartBackoff? = nil,
        intensity: RestartIntensity? = nil
    ) {
        self.restartPolicy = restartPolicy
        self.warmSpares = warmSpares
        self.backoff = backoff
        self.intensity = intensity
    }
}
