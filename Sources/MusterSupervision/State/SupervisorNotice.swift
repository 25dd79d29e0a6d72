// SPDX-License-Identifier: Apache-2.0

/// What logs and metrics have to know.
package enum SupervisorNotice: Hashable, Sendable {
    /// A process was made for a slot, or a spare took it.
    case started(WorkerID, birth: Int)
    /// A spare was made.
    case spareStarted(group: Int, birth: Int)
    /// A spare has come up.
    case spareParked(group: Int, birth: Int)
    /// A worker serves.
    case ready(WorkerID, birth: Int)
    /// A worker's service did not start.
    case startFailed(WorkerID, birth: Int)
    /// A process has ended.
    case died(WorkerDeath)
    /// A slot gets a new process after the delay. Counted once for each that is replaced.
    case restarting(WorkerID, DeathReason, delay: Duration)
    /// A slot stays empty: its process has done what it was for.
    case completed(WorkerID)
    /// A process could not be made; it is tried again after the delay, unless the launcher ends or it was a
    /// successor.
    case spawnFailed(SpawnTarget, birth: Int, delay: Duration)
    /// A worker made no progress.
    case unresponsive(WorkerID, birth: Int)
    /// A process was not ready, or parked, in time.
    case startupTimedOut(SpawnTarget, birth: Int)
    /// A process did not stop in time.
    case stopTimedOut(birth: Int)
    /// A rolling reload has begun.
    case reloadBegan
    /// A reload is over.
    case reloadEnded(ReloadOutcome)
    /// A group restarts too often.
    case intensityExceeded(group: Int)
    /// A group no longer restarts too often.
    case intensityCalm(group: Int)
    /// A group has another number of workers.
    case scaled(group: Int, to: Int)
    /// The graceful end has begun.
    case shutdownBegan(status: Int32)
    /// The end at once has begun: every process is killed.
    case halted
}
