// SPDX-License-Identifier: Apache-2.0

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
