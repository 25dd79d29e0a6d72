// SPDX-License-Identifier: Apache-2.0

import CMuster
public import Logging
import MusterEndpoint
import MusterExecution
public import MusterHealth
public import MusterPlatform

/// Runs services in this process as a program: with signals, the endpoint, a graceful shutdown and an exit status.
///
/// - SIGTERM begins a graceful shutdown: readiness fails, the services stop in reverse order, and after
///   `gracefulShutdownTimeout` the process exits in any case; jobs that are left shortly before are cancelled. A second SIGTERM, or SIGINT, ends it at once with
///   status 1. This works even if every job hangs.
/// - SIGHUP restarts the services, or lets them take up new settings, as `restartMethod` says.
/// - If a service fails to start, it and those before it are stopped, and the status is 1.
public final class ServiceLauncher: MainLauncher, BackendComponent {
    /// The metrics and health checks of the process.
    public let monitoring: Monitoring

    private let life: ServiceRunner.Life
    private let runner: ServiceRunner
    private let sockets = SocketTable()

    /// Creates a launcher without services.
    ///
    /// - Parameters:
    ///   - name: The value of the label `worker_group`.
    ///   - settings: The settings of the runtime.
    ///   - restartMethod: What SIGHUP does, whatever the settings say; as they say when `nil`.
    ///   - backend: The backend to run on; the selected one when `nil`.
    ///   - logger: Where it logs.
    /// - Throws: ``BackendError`` when no backend can be selected; `ArenaError` or `MetricError` when its metrics
    ///   cannot be exported.
    public convenience init(
        name: String, settings: MusterSettings = MusterSettings(), restartMethod: RestartMethod? = nil,
        backend: Backend? = nil, logger: Logger = Logger(label: "muster.launcher")
    ) throws {
        var settings = settings
        settings.fix(restartMethod)
        try self.init(
            name: name, settings: settings, backend: backend, logger: logger,
            exitNow: { cmuster_exit_now($0.rawValue) })
    }

    package init(
        name: String, settings: MusterSettings, backend: Backend?, logger: Logger,
        exitNow: @escaping @Sendable (ExitStatus) -> Void
    ) throws {
        let logger = logger.queued
        try ServiceRunner.Life.checkThreads()
        let backend = try backend ?? Backend.current
        let monitoring = try Monitoring(backend: backend, workerGroup: name, settings: settings, logger: logger)
        self.monitoring = monitoring
        let notifier = SystemdNotifier(logger: logger)
        let watchdog = notifier.map { SystemdWatchdog(notifier: $0, health: monitoring.health, logger: logger) }
        var dependencies = ServiceRunner.Dependencies(exitNow: exitNow)
        let sockets = sockets
        dependencies.sockets = sockets
        dependencies.begin = {
            try monitoring.start()
            watchdog?.begin(on: .auxiliary)
        }
        dependencies.running = { notifier?.ready(status: "All services running") }
        dependencies.restarting = { notifier?.reloading(status: "Restarting services") }
        dependencies.stopping = { notifier?.stopping(status: "Stopping services") }
        dependencies.finished = {
            watchdog?.end()
            monitoring.stop()
            sockets.close()
        }
        life = ServiceRunner.Life(logger: { logger })
        runner = try ServiceRunner(life, backend: backend, settings: settings, dependencies: dependencies)
        monitoring.startConsole { [weak runner, weak life, weak monitoring] in
            guard let monitoring else { return nil }
            return try DiagnosticsConsole.start(
                settings.console, of: Worker(group: name, slot: 0), backend: backend, health: monitoring.health,
                exposition: monitoring.exposition, logger: logger,
                settings: { [weak runner] in runner?.settings ?? settings },
                state: { [weak runner] in runner?.workerState ?? .finished },
                reload: { [weak life] in life?.submit(.hangUp) }, stop: { [weak life] in life?.submit(.end(.success)) })
        }
        monitoring.show { [weak runner] in runner?.workerState ?? .finished }
        try monitoring.health.register(
            .probe("services", .ready, .startup) { [weak runner] in
                runner?.readiness ?? .fail("launcher no longer exists")
            })
    }

    // MARK: Before the start

    /// The services.
    package var services: Services { runner.services }

    /// The application's health checks.
    public var health: HealthRegistry { monitoring.health }

    /// Opens a listening socket.
    ///
    /// - Parameters:
    ///   - name: Identifies the socket, as in supervisor and workers of a ``ProcessLauncher``.
    ///   - address: An address of TCP, a Unix socket, or a socket that systemd has opened.
    ///   - setting: The name of the address' setting, for error messages.
    ///   - backlog: How many connections may wait to be accepted.
    /// - Returns: The socket. Its descriptor is non-blocking. Once the services stop, waiting for it ends and accepting
    ///   fails with `EINVAL`; after a restart in place it works again.
    /// - Throws: ``LaunchError``; `ListenError` when the address is not available.
    @discardableResult
    public func listen(
        _ name: String, on address: ListenAddress, setting: String = "the address", backlog: Int32 = 1024
    ) throws -> ListeningSocket {
        try sockets.listen(name, on: address, setting: setting, backlog: backlog)
    }

    /// Adds a service; services start in the order in which they were added.
    public func launchService(_ service: any ServiceBase, workers: Int = 1) throws {
        guard workers == 1 else {
            throw ServicesError.workersNotSupported(service: service.name, workers: workers)
        }
        try services.register(service)
    }

    /// Calls a closure once all services have started; at once when they have.
    public func whenReady(_ action: @escaping @Sendable () -> Void) {
        life.whenReady(action)
    }

    /// The error that ended the launcher, if any.
    package var failure: (any Error)? { life.failure }

    // MARK: Running

    /// Runs the services until the process is told to stop. To be called from a synchronous `main`.
    ///
    /// The main thread serves `MainActor` code meanwhile. On the cooperative backend it is also the hub: one thread runs
    /// all jobs.
    public func wait() -> ExitStatus {
        runner.wait()
    }

    /// Runs the services until the process is told to stop, or the calling task is cancelled. To be called from an
    /// asynchronous `main`.
    public func run() async -> ExitStatus {
        await runner.run()
    }

    /// Shuts down gracefully, as SIGTERM does. May be called from anywhere, any number of times.
    public func stop(_ status: ExitStatus = .success) {
        life.submit(.end(status))
    }

    /// Restarts the services or lets them take up new settings, as SIGHUP does.
    public func restart() {
        life.submit(.hangUp)
    }
}
