// SPDX-License-Identifier: Apache-2.0

/// A worker's place, which stays while its processes come and go.
package struct WorkerID: Hashable, Sendable, Comparable {
    /// The number of the launched service, from 0 in the order of launching.
    package var group: Int
    /// The number of the slot in its group, from 0.
    package var slot: Int

    package init(group: Int, slot: Int) {
        self.group = group
        self.slot = slot
    }

    package static func < (lhs: WorkerID, rhs: WorkerID) -> Bool {
        (lhs.group, lhs.slot) < (rhs.group, rhs.slot)
    }
}

/// What a process is there for.
package enum WorkerRole: Hashable, Sendable {
    /// It is its slot's process.
    case current(WorkerID)
    /// It replaces its slot's process when it is ready.
    case successor(WorkerID)
    /// Its slot has another process, or is no longer wanted; it only has to end.
    case former(WorkerID)
    /// It waits for a slot.
    case spare(group: Int)

    /// The slot it is in, or was made for.
    package var worker: WorkerID? {
        switch self {
        case .current(let worker), .successor(let worker), .former(let worker): worker
        case .spare: nil
        }
    }

    /// The group's number.
    package var group: Int {
        switch self {
        case .current(let worker), .successor(let worker), .former(let worker): worker.group
        case .spare(let group): group
        }
    }

    /// What it was, or would be, made for.
    package var target: SpawnTarget {
        switch self {
        case .current(let worker), .successor(let worker), .former(let worker): .slot(worker)
        case .spare(let group): .spare(group: group)
        }
    }
}

/// What a process is made for.
package enum SpawnTarget: Hashable, Sendable {
    /// For a slot: as its process, or as its process' successor.
    case slot(WorkerID)
    /// For a group, as a warm spare.
    case spare(group: Int)

    /// The group's number.
    package var group: Int {
        switch self {
        case .slot(let worker): worker.group
        case .spare(let group): group
        }
    }
}

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

/// The end of a process.
package struct WorkerDeath: Hashable, Sendable {
    /// The slot it was in, or was made for; nil for a spare.
    package var worker: WorkerID?
    /// The launched service it belonged to.
    package var group: Int
    /// Which process it was.
    package var birth: Int
    /// Why it ended.
    package var reason: DeathReason
    /// How it ended.
    package var termination: Termination
    /// How long it had been there; since it took its slot, for a spare that was promoted.
    package var uptime: Duration
    /// Whether it had ever been ready.
    package var wasReady: Bool
}

/// Why a worker's process ended: the label `reason`.
package enum DeathReason: String, CaseIterable, Hashable, Sendable {
    /// It exited by itself.
    case exit
    /// A signal from elsewhere, or a crash.
    case signal
    /// The kernel killed it because memory had run out.
    case outOfMemory = "oom"
    /// It made no progress and was aborted.
    case heartbeat
    /// It was not ready in time and was aborted.
    case startupTimeout = "startup_timeout"
    /// It was asked to stop: by the operator, by scaling down, or because the launcher ends.
    case requested
    /// A rolling reload has replaced it.
    case reload
}

/// A number for each reason.
package struct DeathCounts: Hashable, Sendable {
    private var counts = [Int](repeating: 0, count: DeathReason.allCases.count)

    /// All zero.
    package init() {}

    /// The number of one reason.
    package internal(set) subscript(reason: DeathReason) -> Int {
        get { counts[Self.index(reason)] }
        set { counts[Self.index(reason)] = newValue }
    }

    /// The sum over all reasons.
    package var total: Int { counts.reduce(0, +) }

    private static func index(_ reason: DeathReason) -> Int {
        switch reason {
        case .exit: 0
        case .signal: 1
        case .outOfMemory: 2
        case .heartbeat: 3
        case .startupTimeout: 4
        case .requested: 5
        case .reload: 6
        }
    }
}

/// How a process ended, as the kernel tells it.
package enum Termination: Hashable, Sendable {
    /// It exited with a code.
    case exited(code: Int32)
    /// A signal ended it.
    case signaled(Int32)
}
