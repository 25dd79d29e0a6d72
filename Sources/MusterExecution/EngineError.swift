// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// Why an engine could not take a job.
public enum EngineError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The engine has been shut down.
    case shutDown(engine: String)
    /// Every thread the engine may have is taken by a job.
    case threadLimitReached(limit: Int)
    /// The system gave no thread.
    case threadUnavailable(SystemError)
    /// The system gave no event loop.
    case eventLoopUnavailable(SystemError)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .shutDown(let engine):
            "the \(engine) engine has been shut down and takes no more jobs"
        case .threadLimitReached(let limit):
            """
            all \(limit) threads of the threading engine are taken by jobs: raise its thread limit, give the thread \
            group a capacity, or run these jobs on the cooperative backend
            """
        case .threadUnavailable(let error):
            "the system has no room for another thread (\(error)): raise its limit on processes or run fewer jobs"
        case .eventLoopUnavailable(let error):
            "no event loop could be made (\(error)): raise the limit on open files"
        }
    }
}
