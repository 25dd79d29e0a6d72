// SPDX-License-Identifier: Apache-2.0

import Glibc
public import MusterHealth

/// A launcher that runs until the process is told to stop, and returns its exit status.
public protocol MainLauncher: AnyObject, Sendable {
    /// The metrics and health checks, and where they are served.
    var monitoring: Monitoring { get }

    /// The application's health checks: of this process or, under a supervisor, of each worker.
    var health: HealthRegistry { get }

    /// Runs until the process is told to stop. To be called from a synchronous `main`.
    func wait() -> ExitStatus

    /// Runs until the process is told to stop, or the calling task is cancelled. To be called from an asynchronous
    /// `main`.
    func run() async -> ExitStatus

    /// Calls a closure once everything launched is ready; at once when it is. The closure must not block.
    func whenReady(_ action: @escaping @Sendable () -> Void)

    /// Shuts down gracefully, as SIGTERM does. May be called from anywhere, any number of times.
    func stop(_ status: ExitStatus)

    /// Reloads, as SIGHUP does.
    func restart()
}

extension MainLauncher {
    /// Shuts down gracefully, with success.
    public func stop() {
        stop(.success)
    }
}

/// Launches a service with settings from arguments and environment: in this process for one worker, in supervised worker
/// processes for more. With `ctl` as its first argument, the program is a client of its own console instead.
///
/// ```swift
/// @main
/// struct Main {
///     static func main() {
///         Backend.registerDefaultHook { .threading }
///         ExitStatus { try launch(Mailer(), workers: 4).wait() }.exit()
///     }
/// }
/// ```
///
/// - Parameters:
///   - service: What to run.
///   - workers: How many workers run it; with 1 it runs in this process.
///   - restartMethod: What SIGHUP does, whatever the settings say; as they say when `nil`.
///   - settings: The settings of the runtime; read from arguments and environment when `nil`.
/// - Throws: ``SettingsError``, ``LaunchError``, ``BackendError``.
public func launch(
    _ service: any ServiceBase, workers: Int = 1, restartMethod: RestartMethod? = nil,
    settings: MusterSettings? = nil
) throws -> any MainLauncher {
    guard workers >= 1 else { throw LaunchError.tooFewWorkers(workers) }
    DiagnosticsConsole.runClient()?.exit()
    let settings = try settings ?? .load()
    if workers == 1, !Worker.isWorkerProcess {
        let launcher = try ServiceLauncher(name: service.name, settings: settings, restartMethod: restartMethod)
        try launcher.launchService(service)
        return launcher
    }
    let launcher = try ProcessLauncher(settings: settings, restartMethod: restartMethod)
    try launcher.launchService(service, workers: workers)
    return launcher
}

/// The exit status of a program.
public struct ExitStatus: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The exit code, 0 to 255.
    public let rawValue: Int32

    /// Creates a status.
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// Runs a program, and reports a thrown error on standard error with status 1. Swift itself would trap with a
    /// backtrace.
    public init(_ program: () throws -> ExitStatus) {
        do {
            self = try program()
        } catch {
            let text = Array("error: \(error)\n".utf8)
            // The end does not wait for a reader of the log.
            var entry = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
            if poll(&entry, 1, 1000) > 0 { _ = write(STDERR_FILENO, text, text.count) }
            self = .failure
        }
    }

    /// Everything stopped as requested.
    public static let success = ExitStatus(rawValue: 0)
    /// A service failed to start or restart, the endpoint could not listen, or the shutdown was forced.
    public static let failure = ExitStatus(rawValue: 1)

    /// The exit code.
    public var description: String { "\(rawValue)" }

    /// Ends the process with this status.
    public func exit() -> Never {
        Glibc.exit(rawValue)
    }
}

/// Why a service cannot be launched.
public struct LaunchError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was wrong, and what to do.
    public let description: String

    private init(_ description: String) {
        self.description = description
    }

    package static func tooFewWorkers(_ workers: Int) -> LaunchError {
        LaunchError("the number of workers must be 1 or more, not \(workers)")
    }

    static func negativeWarmSpares(_ spares: Int) -> LaunchError {
        LaunchError("the number of warm spares must be 0 or more, not \(spares)")
    }

    static func nameTaken(_ name: String) -> LaunchError {
        LaunchError("service '\(name)' is already launched: give each launched service a unique name")
    }

    static func socketNameTaken(_ name: String) -> LaunchError {
        LaunchError("listening socket '\(name)' already exists: give each socket a unique name")
    }

    static let emptySocketName = LaunchError(
        "a listening socket needs a name, which identifies it in supervisor and workers")

    static func alreadyStarted(_ what: String) -> LaunchError {
        LaunchError("\(what) was added after the launcher had started: add it before wait() or run()")
    }

    /// The system does not allow it.
    static func impossible(_ reason: String) -> LaunchError { LaunchError(reason) }

    static let nothingLaunched = LaunchError(
        "no service was launched: call launchService(_:workers:) before wait() or run()")

    /// A worker was started for a service that its program does not launch.
    static func unknownGroup(_ name: String, launched: [String]) -> LaunchError {
        LaunchError(
            "this process was started as a worker of '\(name)', but its program launches: \(list(launched)). "
                + "Launch the same services in supervisor and workers")
    }

    static func notLaunched(_ name: String, launched: [String]) -> LaunchError {
        LaunchError("no service named '\(name)' is launched; launched services: \(list(launched))")
    }

    static func socketNotInherited(_ name: String) -> LaunchError {
        LaunchError(
            "the supervisor has no listening socket named '\(name)': open the same sockets in supervisor and workers")
    }

    private static func list(_ names: [String]) -> String {
        names.isEmpty ? "none" : names.map { "'\($0)'" }.joined(separator: ", ")
    }
}
