// SPDX-License-Identifier: Apache-2.0

/// A group at one instant.
package struct WorkerGroupSnapshot: Hashable, Sendable {
    /// Its limits.
    package var configuration: WorkerGroupConfiguration
    /// How many workers it shall have.
    package var workers: Int
    /// All slots there have ever been; those from `workers` on are not wanted at present.
    package var slots: [WorkerSnapshot]
    /// How many spares wait for a slot.
    package var sparesParked: Int
    /// How many spares are coming up.
    package var sparesStarting: Int
    /// How many processes there are beside the slots' own and the spares: successors, and former ones that still stop.
    package var surplus: Int
    /// How many of these are successors, which come up.
    package var successors: Int
    /// Whether a worker is ready and restarts are not too many.
    package var isReady: Bool
    /// Whether restarts are too many.
    package var isOverIntensity: Bool
}
