// SPDX-License-Identifier: Apache-2.0

/// Why a service cannot be launched with a number of workers.
public enum LaunchError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Zero workers, or fewer.
    case tooFewWorkers(Int)
    /// Worker processes, which this version does not have.
    case workerProcessesNotAvailable(Int)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .tooFewWorkers(let workers):
            "the number of workers must be 1 or more, not \(workers)"
        case .workerProcessesNotAvailable(let workers):
            """
            \(workers) workers need a supervisor of worker processes, which this version does not have: launch with \
            1 worker, and start the program more than once
            """
        }
    }
}
