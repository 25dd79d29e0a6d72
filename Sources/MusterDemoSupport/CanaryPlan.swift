// SPDX-License-Identifier: Apache-2.0

/// Which slots of a group of workers are canaries: a given share of them, spread evenly.
///
/// The choice depends on the slot alone, so a slot keeps its role when the group grows or shrinks, and of any number
/// of slots the share, rounded down, are canaries.
public struct CanaryPlan: Hashable, Sendable {
    /// The share of the slots, from 0 to 100 %.
    public let percent: Int

    /// Creates a plan.
    ///
    /// - Parameter percent: The share of the slots in per cent; what is outside of 0 to 100 is moved to the nearer end.
    public init(percent: Int) {
        self.percent = min(max(percent, 0), 100)
    }

    /// Whether a slot is a canary.
    ///
    /// - Parameter slot: The slot's number, from 0.
    public func isCanary(slot: Int) -> Bool {
        guard slot >= 0 else { return false }
        // Only the place within a hundred slots matters; so nothing overflows.
        let place = slot % 100
        return (place + 1) * percent / 100 > place * percent / 100
    }
}
