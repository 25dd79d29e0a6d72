// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// A slot at one instant.
package struct WorkerSnapshot: Hashable, Sendable {
    /// What a slot is doing.
    package enum State: String, CaseIterable, Hashable, Sendable {
        /// Its process is coming up.
        case starting
        /// Its process serves.
        case ready
        /// Its process was asked to stop.
        case stopping
        /// Its process hung and was aborted.
        case aborting
        /// Its next process waits.
        case backoff
        /// Its process has done what it was for.
        case finished
        /// It is not wanted at present.
        case empty
    }

    /// Which slot it is.
    package var worker: WorkerID
    /// What it is doing.
    package var state: State
    /// Its process; when it has none, the latest of its former ones that still stops.
    package var birth: Int?
    /// When this process took the slot, or was made for it.
    package var startedAt: MonotonicInstant?
    /// Since when this process has been ready.
    package var readySince: MonotonicInstant?
    /// How many processes there have been.
    package var starts: Int
    /// How often the slot got a new process, by the reason of the old one's end.
    package var restartsByReason: DeathCounts
    /// Why the slot got its latest process, and when; nil while it has its first one.
    package var latestRestart: SlotRestart?
    /// How many processes have ended, by reason: also those that were not replaced.
    package var deathsByReason: DeathCounts
    /// How long the latest restart was delayed; zero once the process after it has been stable.
    package var currentDelay: Duration
}
