// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import Logging
import MusterExecution
import MusterPlatform
import ServiceLifecycle

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
#endif
