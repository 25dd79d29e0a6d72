// SPDX-License-Identifier: Apache-2.0

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
