// SPDX-License-Identifier: Apache-2.0

/// What happens to a supervisor.
package enum SupervisorEvent: Hashable, Sendable {
    /// The first workers shall start.
    case begin
    /// A process is there.
    case spawned(Int)
    /// A process could not be made.
    case spawnFailed(Int)
    /// A spare has come up and waits for a slot.
    case parked(Int)
    /// A worker serves.
    case ready(Int)
    /// A worker's service did not start; the process will exit by itself.
    case startFailed(Int)
    /// A process has ended and has been reaped.
    case exited(Int, Termination, isOutOfMemory: Bool)
    /// A worker makes no progress. It cannot be aborted when it is stopped (SIGSTOP): no handler would run.
    case unresponsive(Int, canAbort: Bool)
    /// SIGTERM: a graceful end; during a graceful end, an end at once.
    case terminate
    /// The program asks for a graceful end; asking again changes nothing.
    case end(status: Int32)
    /// An end at once is asked for (SIGINT).
    case interrupt
    /// All workers shall be replaced, one after the other.
    case reload
    /// All workers shall read their settings again.
    case mutate
    /// A reload was asked for whose settings cannot be read.
    case reloadRefused
    /// A group shall have another number of workers.
    case scale(group: Int, to: Int)
    /// Every group shall have one worker more (SIGTTIN).
    case addWorker
    /// Every group shall have one worker less, but not less than one (SIGTTOU).
    case removeWorker
    /// The operator wants a new process in a slot.
    case replace(WorkerID)
    /// The groups' limits are others from now on; the numbers of workers stay as they are.
    case reconfigure([WorkerGroupConfiguration])
    /// A timer has fired.
    case timer(SupervisorTimer)
}
