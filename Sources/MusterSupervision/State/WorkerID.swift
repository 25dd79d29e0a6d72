// SPDX-License-Identifier: Apache-2.0

/// A worker's place, which stays while its processes come and go.
public struct WorkerID: Hashable, Sendable, Comparable {
    /// The number of the launched service, from 0 in the order of launching.
    public var group: Int
    /// The number of the slot in its group, from 0.
    public var slot: Int

    /// Creates a worker's place.
    ///
    /// - Parameters:
    ///   - group: The number of the launched service, from 0.
    ///   - slot: The number of the slot in its group, from 0.
    public init(group: Int, slot: Int) {
        self.group = group
        self.slot = slot
    }

    /// Whether one place is before another: by group, then by slot.
    public static func < (lhs: WorkerID, rhs: WorkerID) -> Bool {
        (lhs.group, lhs.slot) < (rhs.group, rhs.slot)
    }
}
