// SPDX-License-Identifier: Apache-2.0

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
    var restarts = DeathCounts()
    var deaths = DeathCounts()
    /// How long the latest restart was delayed.
    var latestDelay = Duration.zero

    /// Its process.
    var birth: Int? {
        switch occupant {
        case .process(let birth): birth
        case .empty, .backoff, .finished: nil
        }
    }
}
