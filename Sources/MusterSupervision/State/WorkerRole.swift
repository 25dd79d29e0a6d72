// SPDX-License-Identifier: Apache-2.0

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
