// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

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
            "a service named '\(name)' is launched already: give each launched service a name of its own"
        case .socketNameTaken(let name):
            "a listening socket named '\(name)' is there already: give each a name of its own"
        case .emptySocketName:
            "a listening socket needs a name, by which supervisor and workers mean the same one"
        case .alreadyStarted(let what):
            "\(what) was added after the launcher had begun: add it before wait() or run()"
        case .nothingLaunched:
            "no service is launched: call launchService(_:workers:) before wait() or run()"
        case .unknownGroup(let name, let launched):
            """
            this process was started as a worker of '\(name)', but its program launches \
            \(launched.isEmpty ? "nothing" : launched.map { "'\($0)'" }.joined(separator: ", ")): what is launched \
            must not depend on whether the process is a worker
            """
        case .notLaunched(let name, let launched):
            """
            no service named '\(name)' is launched; launched are \
            \(launched.isEmpty ? "none" : launched.map { "'\($0)'" }.joined(separator: ", "))
            """
        case .socketNotInherited(let name):
            """
            the supervisor has no listening socket named '\(name)': what is listened on must not depend on whether \
            the process is a worker
            """
        case .noResources(let error):
            "the supervisor cannot run: \(error)"
        }
    }
}
