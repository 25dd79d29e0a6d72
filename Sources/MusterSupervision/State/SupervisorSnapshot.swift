// SPDX-License-Identifier: Apache-2.0

/// A supervisor at one instant.
package struct SupervisorSnapshot: Hashable, Sendable {
    /// Where it is.
    package var phase: SupervisorPhase
    /// Whether a rolling reload is under way.
    package var isReloading: Bool
    /// Its groups.
    package var groups: [WorkerGroupSnapshot]
}
