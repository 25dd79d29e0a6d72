// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterExecution
import MusterMetrics
public import MusterPlatform

/// Services that start in the order in which they were added and stop in the reverse order.
///
/// Upstream: `Services`.
public final class Services: Sendable, BackendComponent {
    /// The component's name.
    public static let componentName = "Services"

    private enum Phase {
        case idle
        case started
        case stopped
    }

    private struct State {
        var services: [any ServiceBase] = []
        /// How many of them, from the front, have been started and not stopped.
        var started = 0
        var phase = Phase.idle
    }

    private let backend: Backend
    private let state = Locked(State())

    /// Creates an empty list of services.
    ///
    /// - Parameter backend: The backend they run on; the selected one when `nil`.
    /// - Throws: ``BackendError`` when none can be selected.
    public init(backend: Backend? = nil) throws {
        self.backend = try backend ?? Backend.current
    }

    /// The services, in the order in which they start.
    public var all: [any ServiceBase] { state.withLock { $0.services } }

    /// Adds a service; starts it at once when the others run.
    ///
    /// - Parameter service: The service.
    /// - Throws: ``ServicesError``.
    public func add(_ service: any ServiceBase) async throws {
        try register(service)
        if state.withLock({ $0.phase == .started }) { try await startNext() }
    }

    /// Adds a service that is to start with the others.
    func register(_ service: any ServiceBase) throws(ServicesError) {
        let isOpen = state.withLock { state in
            if state.phase == .stopped { return false }
            state.services.append(service)
            return true
        }
        if !isOpen { throw .stopped(service: service.name) }
    }

    /// Starts the services one after the other.
    ///
    /// - Throws: ``ServicesError``; when a service fails to start, those before it are stopped first.
    public func start() async throws {
        let isFirst = state.withLock { state in
            guard state.phase != .started else { return false }
            state.phase = .started
            return true
        }
        guard isFirst else { throw ServicesError.alreadyStarted }
        while state.withLock({ $0.started < $0.services.count }) { try await startNext() }
    }

    private func startNext() async throws {
        let next: (any ServiceBase)? = state.withLock { state in
            guard state.started < state.services.count else { return nil }
            state.started += 1
            return state.services[state.started - 1]
        }
        guard let service = next else { return }
        backend.logger.debug("starting service", metadata: ["service": "\(service.name)"])
        do {
            try await service.start()
        } catch {
            backend.logger.error(
                "service failed to start", metadata: ["service": "\(service.name)", "error": "\(error)"])
            // What it had begun before it failed ends with it.
            await stop(graceful: false, until: nil)
            throw ServicesError.startFailed(service: service.name, error)
        }
    }

    /// Stops the services one after the other, the last started first. An error of one is logged and keeps none of
    /// the others running. Stopping again changes nothing.
    ///
    /// - Parameters:
    ///   - graceful: Whether to let work that has begun finish.
    ///   - deadline: The latest end; `nil` for none.
    public func stop(graceful: Bool, until deadline: MonotonicInstant?) async {
        while let service = takeLastStarted() {
            backend.logger.debug("stopping service", metadata: ["service": "\(service.name)"])
            do {
                try await service.stop(graceful: graceful, until: deadline)
            } catch {
                backend.logger.error(
                    "service failed to stop", metadata: ["service": "\(service.name)", "error": "\(error)"])
            }
        }
        state.withLock { $0.phase = .stopped }
    }

    private func takeLastStarted() -> (any ServiceBase)? {
        state.withLock { state in
            guard state.started > 0 else { return nil }
            state.started -= 1
            return state.services[state.started]
        }
    }

    /// Waits until every service has nothing more to do.
    ///
    /// - Throws: The first error of a service; `CancellationError` when the calling task is cancelled.
    public func wait() async throws {
        for service in all { try await service.wait() }
    }

    /// Restarts the services, or lets them take up new settings.
    ///
    /// - Parameters:
    ///   - method: Which of the two.
    ///   - deadline: The latest end of stopping; `nil` for none.
    /// - Throws: ``ServicesError`` when a service does not start again.
    public func restart(_ method: RestartMethod, until deadline: MonotonicInstant? = nil) async throws {
        if method == .reload { await stop(graceful: true, until: deadline) }
        for service in all {
            do {
                try await service.reset()
            } catch {
                backend.logger.error(
                    "service failed to reset", metadata: ["service": "\(service.name)", "error": "\(error)"])
            }
        }
        if method == .reload { try await start() }
    }
}
