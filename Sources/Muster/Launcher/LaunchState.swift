// SPDX-License-Identifier: Apache-2.0

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
