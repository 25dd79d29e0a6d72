// SPDX-License-Identifier: Apache-2.0

import Glibc
public import MusterPlatform

/// A launcher that is the program: it waits until the process is told to end, and says with which status.
public protocol MainLauncher: AnyObject, Sendable {
    /// The metrics and health checks, and where they are served.
    var monitoring: Monitoring { get }

    /// Runs until the process is told to end. To be called from a synchronous `main`.
    func wait() -> ExitStatus

    /// Runs until the process is told to end, or the calling task is cancelled. To be called from an asynchronous
    /// `main`.
    func run() async -> ExitStatus

    /// Registers what is to be done once everything launched is ready; done at once when it is.
    func whenReady(_ action: @escaping @Sendable () -> Void)

    /// Ends gracefully, as SIGTERM does. May be called from anywhere, any number of times.
    func stop(_ status: ExitStatus)

    /// Reloads, as SIGHUP does.
    func restart()
}

extension MainLauncher {
    /// Ends gracefully, as SIGTERM does, with success.
    public func stop() {
        stop(.success)
    }
}

/// Launches a service, with settings from the program's arguments and environment: in the calling process for one
/// worker, in supervised worker processes for more.
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
///   - service: The service.
///   - workers: The number of workers; 1 for the calling process.
///   - restartMethod: What SIGHUP does; what the settings say when `nil`.
///   - settings: What can be set about the runtime; read from arguments and environment when `nil`.
/// - Returns: A launcher to wait for: a ``ServiceLauncher`` or a ``ProcessLauncher``.
/// - Throws: ``SettingsError`` for a setting that cannot be used; ``LaunchError`` for a number of workers that
///   cannot be had; ``BackendError`` when no backend can be selected.
public func launch(
    _ service: any ServiceBase, workers: Int = 1, restartMethod: RestartMethod? = nil,
    settings: MusterSettings? = nil
) throws -> any MainLauncher {
    guard workers >= 1 else { throw LaunchError.tooFewWorkers(workers) }
    var settings = try settings ?? .load()
    if let restartMethod {
        settings.restartMethod = restartMethod
        if let source = settings.source {
            settings.source = {
                var settings = try source()
                settings.restartMethod = restartMethod
                return settings
            }
        }
    }
    if workers == 1, !Worker.isWorkerProcess {
        let launcher = try ServiceLauncher(name: service.name, settings: settings)
        try launcher.launchService(service)
        return launcher
    }
    let launcher = try ProcessLauncher(settings: settings)
    try launcher.launchService(service, workers: workers)
    return launcher
}

/// How a launcher's life ended, as the process' parent is to see it.
public struct ExitStatus: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The exit code, 0 to 255.
    public let rawValue: Int32

    /// Creates a status.
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// Runs a program, and tells an error that it throws the way programs do: with its text on standard error, and
    /// with status 1. Swift itself would trap, with a backtrace, when an error leaves `main`.
    public init(_ program: () throws -> ExitStatus) {
        do {
            self = try program()
        } catch {
            let text = Array("error: \(error)\n".utf8)
            // There is nobody left to tell when this fails.
            _ = write(STDERR_FILENO, text, text.count)
            self = .failure
        }
    }

    /// Everything has ended as it was asked to.
    public static let success = ExitStatus(rawValue: 0)
    /// A service failed to start or to start again, the endpoint could not listen, or the end had to be forced.
    public static let failure = ExitStatus(rawValue: 1)

    /// The exit code.
    public var description: String { "\(rawValue)" }

    /// Ends the process with this status.
    public func exit() -> Never {
        Glibc.exit(rawValue)
    }
}

/// Why a service cannot be launched as it was asked for.
public enum LaunchError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Zero workers, or fewer.
    case tooFewWorkers(Int)
    /// Fewer than no warm spares.
    case negativeWarmSpares(Int)
    /// Two services of one name: their workers could not be told apart.
    case nameTaken(String)
    /// Two listening sockets of one name.
    case socketNameTaken(String)
    /// A socket without a name.
    case emptySocketName
    /// A service or socket was added after the launcher had begun.
    case alreadyStarted(String)
    /// There is nothing to run.
    case nothingLaunched
    /// A worker was started for a service that its program does not launch.
    case unknownGroup(String, launched: [String])
    /// No service of the name has been launched.
    case notLaunched(String, launched: [String])
    /// A worker has not inherited a listening socket that its program asks for.
    case socketNotInherited(String)
    /// The system has no thread or descriptor for the supervisor.
    case noResources(SystemError)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .tooFewWorkers(let workers):
            "the number of workers must be 1 or more, not \(workers)"
        case .negativeWarmSpares(let spares):
            "the number of warm spares must be 0 or more, not \(spares)"
        case .nameTaken(let name):
            "service '\(name)' is already launched: give each launched service a unique name"
        case .socketNameTaken(let name):
            "listening socket '\(name)' already exists: give each socket a unique name"
        case .emptySocketName:
            "a listening socket needs a name, which identifies it in supervisor and workers"
        case .alreadyStarted(let what):
            "\(what) was added after the launcher had started: add it before wait() or run()"
        case .nothingLaunched:
            "no service was launched: call launchService(_:workers:) before wait() or run()"
        case .unknownGroup(let name, let launched):
            """
            this process was started as a worker of '\(name)', but its program launches: \
            \(launched.isEmpty ? "none" : launched.map { "'\($0)'" }.joined(separator: ", ")): launch the same \
            services in supervisor and workers
            """
        case .notLaunched(let name, let launched):
            """
            no service named '\(name)' is launched; launched services: \
            \(launched.isEmpty ? "none" : launched.map { "'\($0)'" }.joined(separator: ", "))
            """
        case .socketNotInherited(let name):
            """
            the supervisor has no listening socket named '\(name)': open the same \
            sockets in supervisor and workers
            """
        case .noResources(let error):
            "the supervisor cannot run: \(error)"
        }
    }
}
