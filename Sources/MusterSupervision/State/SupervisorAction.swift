// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// What a supervisor has to do, in this order. Births that are unknown, because their process could not be made or has
/// been reaped already, are to be passed over.
package enum SupervisorAction: Hashable, Sendable {
    /// Make a process, then tell `spawned` or `spawnFailed`.
    case spawn(Int, SpawnTarget)
    /// Tell a parked spare which slot it takes.
    case promote(Int, WorkerID)
    /// Ask a process to stop (SIGTERM).
    case stop(Int)
    /// Have a process write its backtraces and die (SIGABRT).
    case abort(Int)
    /// Kill a process and those of its process group (SIGKILL).
    case kill(Int)
    /// Have a worker read its settings again.
    case reset(Int)
    /// Tell `timer` then.
    case arm(SupervisorTimer, at: MonotonicInstant)
    /// Forget a timer.
    case disarm(SupervisorTimer)
    /// Log and count it.
    case notice(SupervisorNotice)
    /// Everything is over: `wait` returns this status.
    case finish(status: Int32)
}
