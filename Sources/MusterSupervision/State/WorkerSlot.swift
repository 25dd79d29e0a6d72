// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// A worker's place and its history.
struct WorkerSlot: Hashable, Sendable {
    /// What is in it.
    enum Occupant: Hashable, Sendable {
        case empty
        case process(Int)
        /// The next process waits.
        case backoff
        /// The policy wants no process here any more.
        case finished
    }

    var occupant = Occupant.empty
    var backoff = RestartBackoffState()
    var starts = 0
    private(set) var restarts = DeathCounts()
    /// Why it got its latest process, and when; nil while it has its first one.
    private(set) var latestRestart: SlotRestart?
    var deaths = DeathCounts()
    /// How long the latest restart was delayed.
    var latestDelay = Duration.zero

    /// Counts that it gets another process.
    mutating func noteRestart(_ reason: DeathReason, at now: MonotonicInstant) {
        restarts[reason] += 1
        latestRestart = SlotRestart(reason: reason, at: now)
    }

    /// Its process.
    var birth: Int? {
        switch occupant {
        case .process(let birth): birth
        case .empty, .backoff, .finished: nil
        }
    }
}
