// SPDX-License-Identifier: Apache-2.0

/// What a worker is doing.
public enum WorkerState: String, Codable, CaseIterable, Hashable, Sendable {
    /// Its process is coming up.
    case starting
    /// Its process serves.
    case ready
    /// Its process was asked to stop.
    case stopping
    /// Its process makes no progress and is being replaced.
    case hung
    /// Its process has died, and the next one is held back for a while.
    case backoff
    /// Its process has done what it was for.
    case finished
}
