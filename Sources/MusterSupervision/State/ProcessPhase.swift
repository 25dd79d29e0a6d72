// SPDX-License-Identifier: Apache-2.0

/// How far a process is.
enum ProcessPhase: Hashable, Sendable {
    /// Why a process was asked to stop.
    enum StopCause: Hashable, Sendable {
        case requested
        case reload
    }

    /// Why a process was aborted.
    enum AbortCause: Hashable, Sendable {
        case heartbeat
        case startupTimeout
    }

    case starting
    /// A spare that has come up.
    case parked
    case ready
    case stopping(StopCause)
    case aborting(AbortCause)

    /// Whether it counts as a worker: it serves, or is about to, or has to be got rid of first.
    var isLive: Bool {
        switch self {
        case .starting, .ready, .aborting: true
        case .parked, .stopping: false
        }
    }

    var isStopping: Bool {
        switch self {
        case .stopping: true
        case .starting, .parked, .ready, .aborting: false
        }
    }

    /// Why it ends, if it does so now.
    func reason(_ termination: Termination, isOutOfMemory: Bool) -> DeathReason {
        switch self {
        case .aborting(.heartbeat): .heartbeat
        case .aborting(.startupTimeout): .startupTimeout
        case .stopping(.reload): .reload
        case .stopping(.requested): .requested
        case .starting, .parked, .ready:
            switch termination {
            case .signaled: isOutOfMemory ? .outOfMemory : .signal
            case .exited: .exit
            }
        }
    }
}
