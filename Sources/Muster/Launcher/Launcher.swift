// SPDX-License-Identifier: Apache-2.0

import MusterExecution
public import MusterPlatform

/// Runs services in this process without signals, endpoint and exit status. They run from ``start()`` on. Nothing asks for
/// their health: ``ServiceLauncher`` and ``ProcessLauncher`` have health checks, and what serves them.
public final class Launcher: Sendable, BackendComponent {
    /// The services.
    package let services: Services

    private let restartMethod: RestartMethod

    /// Creates a launcher without services.
    public init(restartMethod: RestartMethod = .reload, backend: Backend? = nil) throws {
        self.restartMethod = restartMethod
        services = try Services(backend: backend)
    }

    /// Adds a service; it starts with ``start()``, or at once when that has been called.
    public func launchService(_ service: any ServiceBase, workers: Int = 1) async throws {
        guard workers == 1 else {
            throw ServicesError.workersNotSupported(service: service.name, workers: workers)
        }
        try await services.add(service)
    }

    /// Starts the services in the order in which they were added.
    public func start() async throws {
        try await services.start()
    }

    /// Stops the services in the reverse order.
    public func stop(graceful: Bool = true, until deadline: MonotonicInstant? = nil) async {
        await services.stop(graceful: graceful, until: deadline)
    }

    /// Waits until every service has nothing more to do.
    ///
    /// - Throws: The first error of a service; an error when ``start()`` was not called; `CancellationError` when the
    ///   calling task is cancelled.
    public func wait() async throws {
        try await services.wait()
    }

    /// Restarts the services, or lets them take up new settings, as `restartMethod` says.
    ///
    /// - Throws: `ServicesError` when a service does not start again.
    public func restart() async throws {
        try await services.restart(restartMethod)
    }
}
