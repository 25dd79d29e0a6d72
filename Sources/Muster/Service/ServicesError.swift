// SPDX-License-Identifier: Apache-2.0

/// Why services could not be run.
public enum ServicesError: Error, Sendable, CustomStringConvertible {
    /// A service's `start()` threw. It has been stopped; when all were starting, so have those before it.
    case startFailed(service: String, any Error)
    /// A service that had started could not go on.
    case failed(service: String, any Error)
    /// Services were started twice.
    case alreadyStarted
    /// The services were stopped before all of them had started.
    case stoppedWhileStarting
    /// A service was added after the others had been stopped.
    case stopped(service: String)
    /// More than one worker was asked for in a launcher that runs services in its own process.
    case workersNotSupported(service: String, workers: Int)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .startFailed(let service, let error):
            "service '\(service)' failed to start: \(error)"
        case .failed(let service, let error):
            "service '\(service)' failed: \(error)"
        case .alreadyStarted:
            "the services have been started already"
        case .stoppedWhileStarting:
            "the services were stopped before all of them had started"
        case .stopped(let service):
            "service '\(service)' was added after its services had been stopped: add it before, or start them again"
        case .workersNotSupported(let service, let workers):
            """
            Launcher asked to start multiple workers: \(workers) for service '\(service)'. This launcher runs \
            services in its own process, so the number of workers must be 1
            """
        }
    }
}
