// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

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

/// Where a supervisor is.
package enum SupervisorPhase: String, CaseIterable, Hashable, Sendable {
    /// Workers are started, watched and started again.
    case running
    /// The graceful end: no worker is started any more.
    case stopping
    /// The end at once: every process has been killed.
    case halting
    /// Everything is over.
    case finished
}

/// What a supervisor waits for. There is at most one of each; arming it again moves it.
package enum SupervisorTimer: Hashable, Sendable {
    /// A process has to be ready, or parked, by then.
    case startup(Int)
    /// A process that was asked to stop has to be gone by then.
    case kill(Int)
    /// A process that was aborted has to be gone by then.
    case abort(Int)
    /// A slot gets its next process then.
    case backoff(WorkerID)
    /// A group gets its next spare then.
    case spareBackoff(Int)
    /// The workers are stopped then.
    case shutdownDelay
    /// The end comes then, even if a killed process is still there.
    case halt
    /// A group's restarts have calmed down by then.
    case intensity(Int)
}

/// What a ``SupervisorState`` is made with.
package struct SupervisorConfiguration: Hashable, Sendable {
    /// The launched services, in the order of launching.
    package var groups: [WorkerGroupConfiguration]
    /// How long the workers go on, no longer ready, before a graceful end stops them.
    package var shutdownDelay: Duration
    /// What the restart delays' jitter is drawn from.
    package var jitterSeed: UInt64

    /// Creates a configuration.
    package init(groups: [WorkerGroupConfiguration], shutdownDelay: Duration = .zero, jitterSeed: UInt64) {
        self.groups = groups
        self.shutdownDelay = shutdownDelay
        self.jitterSeed = jitterSeed
    }
}

/// How the processes of one launched service are supervised.
package struct WorkerGroupConfiguration: Hashable, Sendable {
    /// The launched service's name: the label `worker_group`.
    package var name: String
    /// How many workers there are at first.
    package var workers: Int
    /// How many processes are kept parked, ready to take a slot.
    package var warmSpares: Int
    /// Whether a worker that has ended is started again.
    package var policy: RestartPolicy
    /// How long a slot waits before its next process is started.
    package var backoff: RestartBackoff
    /// How many restarts are too many; nil when none are.
    package var intensity: RestartIntensity?
    /// How long a process may take until it is ready; zero for as long as it likes.
    package var startupTimeout: Duration
    /// How long a process may take to stop before it is killed; zero for as long as it likes.
    package var stopTimeout: Duration
    /// How long an aborted process may take to write its backtraces before it is killed.
    package var abortGrace: Duration

    /// Creates a group's configuration.
    package init(
        name: String, workers: Int, warmSpares: Int = 0, policy: RestartPolicy = .always,
        backoff: RestartBackoff = RestartBackoff(), intensity: RestartIntensity? = RestartIntensity(),
        startupTimeout: Duration = .seconds(60), stopTimeout: Duration = .seconds(60),
        abortGrace: Duration = .seconds(15)
    ) {
        self.name = name
        self.workers = workers
        self.warmSpares = warmSpares
        self.policy = policy
        self.backoff = backoff
        self.intensity = intensity
        self.startupTimeout = startupTimeout
        self.stopTimeout = stopTimeout
        self.abortGrace = abortGrace
    }
}

/// A supervisor at one instant.
package struct SupervisorSnapshot: Hashable, Sendable {
    /// Where it is.
    package var phase: SupervisorPhase
    /// Whether a rolling reload is under way.
    package var isReloading: Bool
    /// Its groups.
    package var groups: [WorkerGroupSnapshot]
}

/// A group at one instant.
package struct WorkerGroupSnapshot: Hashable, Sendable {
    /// Its limits.
    package var configuration: WorkerGroupConfiguration
    /// How many workers it shall have.
    package var workers: Int
    /// All slots there have ever been; those from `workers` on are not wanted at present.
    package var slots: [WorkerSnapshot]
    /// How many spares wait for a slot.
    package var sparesParked: Int
    /// How many spares are coming up.
    package var sparesStarting: Int
    /// How many processes there are beside the slots' own and the spares: successors, and former ones that still stop.
    package var surplus: Int
    /// How many of these are successors, which come up.
    package var successors: Int
    /// Whether a worker is ready and restarts are not too many.
    package var isReady: Bool
    /// Whether restarts are too many.
    package var isOverIntensity: Bool
}

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

/// How a reload ended: the label `outcome`.
package enum ReloadOutcome: String, CaseIterable, Hashable, Sendable {
    /// All workers are new, or have been told to read their settings again.
    case completed
    /// A new worker did not get ready; the old ones go on.
    case aborted
    /// The settings cannot be read; nothing was done.
    case refused
    /// A later reload stands for this one, or the launcher ends.
    case superseded
}
