// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// What happens to a supervisor.
package enum SupervisorEvent: Hashable, Sendable {
    /// Start the first workers.
    case begin
    /// A process was spawned.
    case spawned(Int)
    /// A process could not be spawned.
    case spawnFailed(Int)
    /// A spare has started and waits for a slot.
    case parked(Int)
    /// A worker is ready.
    case ready(Int)
    /// A worker's service did not start; the process will exit by itself.
    case startFailed(Int)
    /// A process has begun to end, as its bell says. Its exit follows; a broken one may go on.
    case dying(Int)
    /// A process has begun to end, and at its bell a parked spare has been told to take over its slot (``Heirs``).
    case claimed(Int, by: Int)
    /// A process exited and was reaped.
    case exited(Int, Termination, isOutOfMemory: Bool)
    /// A worker makes no progress. It cannot be aborted when it is stopped (SIGSTOP): no handler would run.
    case unresponsive(Int, canAbort: Bool)
    /// SIGTERM: a graceful shutdown; during one, an immediate shutdown.
    case terminate
    /// The program requests a graceful shutdown; repeating it changes nothing.
    case end(status: Int32)
    /// SIGINT: an immediate shutdown.
    case interrupt
    /// Replace all workers, one after the other.
    case reload
    /// Let all workers take up the settings.
    case mutate
    /// A worker has taken up the settings, or could not.
    case hasReset(Int, succeeded: Bool)
    /// A reload was requested, but its settings are invalid.
    case reloadRefused
    /// Change a group's number of workers.
    case scale(group: Int, to: Int)
    /// SIGTTIN: add a worker to each group.
    case addWorker
    /// SIGTTOU: remove a worker from each group, but not the last one.
    case removeWorker
    /// The operator requests a new process in a slot: once it is ready, the old one is stopped.
    case replace(WorkerID)
    /// A worker is to be recycled: replaced like that, when it is its turn.
    case recycle(Int, RecycleCause)
    /// Apply other limits; the numbers of workers stay.
    case reconfigure([WorkerGroupConfiguration])
    /// A timer has fired.
    case timer(SupervisorTimer)
}

/// What a supervisor has to do, in order. Actions on unknown incarnations are ignored.
package enum SupervisorAction: Hashable, Sendable {
    /// Spawn a process, then send `spawned` or `spawnFailed`.
    case spawn(Int, SpawnTarget)
    /// Assign a slot to a parked spare.
    case promote(Int, WorkerID)
    /// Take note that a parked spare has been assigned to a slot.
    case promoted(Int, WorkerID)
    /// Stop a process (SIGTERM).
    case stop(Int)
    /// Let a process write its backtraces and die (SIGABRT).
    case abort(Int)
    /// Kill a process and its process group (SIGKILL).
    case kill(Int)
    /// Kill what goes on of a process that has begun to end, and its process group. How it ended is its own word.
    case finishOff(Int)
    /// Let a worker take up the settings.
    case reset(Int)
    /// Send `timer` at the instant.
    case arm(SupervisorTimer, at: MonotonicInstant)
    /// Cancel a timer.
    case disarm(SupervisorTimer)
    /// Log and count it.
    case notice(SupervisorNotice)
    /// Finish: `wait` returns this status.
    case finish(status: Int32)
}

/// What is logged and counted.
package enum SupervisorNotice: Hashable, Sendable {
    /// A process was spawned for a slot, or a spare took it over.
    case started(WorkerID, incarnation: Int)
    /// A spare was spawned.
    case spareStarted(group: Int, incarnation: Int)
    /// A spare is ready to take over a slot.
    case spareParked(group: Int, incarnation: Int)
    /// A worker is ready.
    case ready(WorkerID, incarnation: Int)
    /// A worker's service did not start.
    case startFailed(WorkerID, incarnation: Int)
    /// A process has begun to end, and its slot gets another one.
    case dying(WorkerID, incarnation: Int)
    /// A process exited.
    case died(WorkerDeath)
    /// A slot gets a new process after the delay. Counted once for each that is replaced.
    case restarting(WorkerID, DeathReason, delay: Duration)
    /// A worker is recycled: its successor starts.
    case recycling(WorkerID, incarnation: Int, RecycleCause)
    /// A worker has reached its limit of memory before its minimum age. Only the first of a group.
    case tooLargeTooSoon(WorkerID, incarnation: Int, RecycleCause)
    /// A process that was to replace a slot's one, by itself, did not become ready. The old one stays.
    case replacementFailed(WorkerID, incarnation: Int)
    /// A slot stays empty: its process completed.
    case completed(WorkerID)
    /// A process could not be spawned; retried after the delay unless that is zero.
    case spawnFailed(SpawnTarget, incarnation: Int, delay: Duration)
    /// A worker hung.
    case unresponsive(WorkerID, incarnation: Int)
    /// A process exceeded its startup timeout.
    case startupTimedOut(SpawnTarget, incarnation: Int)
    /// A process exceeded its stop timeout.
    case stopTimedOut(incarnation: Int)
    /// A reload, rolling or in place, has begun.
    case reloadBegan
    /// A rolling reload is over, or a reload was refused.
    case reloadEnded(ReloadOutcome)
    /// A reload in place is over.
    case resetEnded(ReloadOutcome)
    /// A group restarts too often.
    case intensityExceeded(group: Int)
    /// A group's restarts are back to normal.
    case intensityCalm(group: Int)
    /// A group has another number of workers.
    case scaled(group: Int, to: Int)
    /// A graceful shutdown has begun.
    case shutdownBegan(status: Int32)
    /// An immediate shutdown has begun.
    case halted
}

/// The phase of a supervisor.
package enum SupervisorPhase: String, CaseIterable, Hashable, Sendable {
    /// Workers are started, watched and restarted.
    case running
    /// Graceful shutdown: no worker is started.
    case stopping
    /// Immediate shutdown: every process has been killed.
    case halting
    /// All processes are gone.
    case finished
}

/// The timers; arming one again moves it.
package enum SupervisorTimer: Hashable, Sendable {
    /// The startup timeout of a process.
    case startup(Int)
    /// The stop timeout of a process.
    case kill(Int)
    /// The time for an aborted process to exit.
    case abort(Int)
    /// The back-off of a slot.
    case backoff(WorkerID)
    /// The back-off of a group's spares.
    case spareBackoff(Int)
    /// The age at which a worker is recycled.
    case age(Int)
    /// When the next worker of a group may be recycled.
    case recycle(Int)
    /// The delay before workers are stopped.
    case shutdownDelay
    /// The time for killed processes to exit.
    case halt
    /// When a group's restarts are back to normal.
    case intensity(Int)
}

/// What a ``SupervisorState`` is made with.
package struct SupervisorConfiguration: Hashable, Sendable {
    /// The launched services, in the order of launching.
    package var groups: [WorkerGroupConfiguration]
    /// How long the workers go on, no longer ready, before a graceful end stops them.
    package var shutdownDelay: Duration
    /// The seed of the restart delays' jitter.
    package var jitterSeed: UInt64

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
    /// Whether a worker that exited is restarted.
    package var policy: RestartPolicy
    /// How long a slot waits before its next process is started.
    package var backoff: RestartBackoff
    /// The tolerated restarts; nil for any number.
    package var intensity: RestartIntensity?
    /// How long a process may take until it is ready; zero for no limit.
    package var startupTimeout: Duration
    /// How long a process may take to stop before it is killed; zero for no limit.
    package var stopTimeout: Duration
    /// How long an aborted process may take to write its backtraces before it is killed.
    package var abortGrace: Duration
    /// When a worker is recycled.
    package var recycle: RecyclePolicy

    package init(
        name: String, workers: Int, warmSpares: Int = 0, policy: RestartPolicy = .always,
        backoff: RestartBackoff = RestartBackoff(), intensity: RestartIntensity? = RestartIntensity(),
        startupTimeout: Duration = .seconds(60), stopTimeout: Duration = .seconds(60),
        abortGrace: Duration = .seconds(15), recycle: RecyclePolicy = RecyclePolicy()
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
        self.recycle = recycle
    }
}

/// A supervisor at one instant.
package struct SupervisorSnapshot: Hashable, Sendable {
    package var phase: SupervisorPhase
    /// Whether a rolling reload is under way.
    package var isReloading: Bool
    package var groups: [WorkerGroupSnapshot]
}

/// A group at one instant.
package struct WorkerGroupSnapshot: Hashable, Sendable {
    package var configuration: WorkerGroupConfiguration
    /// The desired number of workers.
    package var workers: Int
    /// All slots that ever existed; those from `workers` on are not wanted.
    package var slots: [WorkerSnapshot]
    /// How many spares wait for a slot.
    package var sparesParked: Int
    /// How many spares are coming up.
    package var sparesStarting: Int
    /// How many spares have ended, by reason.
    package var spareDeathsByReason: DeathCounts
    /// How many processes there are beside the slots' own and the spares: successors, and former ones that still stop.
    package var surplus: Int
    /// How many of these are successors, which come up.
    package var successors: Int
    /// Whether a worker is ready and restarts are not too many.
    package var isReady: Bool
    /// Whether it restarts too often.
    package var isOverIntensity: Bool
}

/// A slot at one instant.
package struct WorkerSnapshot: Hashable, Sendable {
    /// The state of a slot.
    package enum State: String, CaseIterable, Hashable, Sendable {
        /// Its process is starting.
        case starting
        /// Its process is ready.
        case ready
        /// Its process is stopping.
        case stopping
        /// Its process hung and was aborted.
        case aborting
        /// Its next process is delayed.
        case backoff
        /// Its process completed.
        case finished
        /// It is not wanted.
        case empty
    }

    package var worker: WorkerID
    package var state: State
    /// Its process; when it has none, the latest of its former ones that still stops.
    package var incarnation: Int?
    /// When this process took over the slot, or was spawned for it.
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
    /// When the next process is due; nil if none is delayed.
    package var nextStart: MonotonicInstant?
}

/// How a reload ended: the label `outcome`.
package enum ReloadOutcome: String, CaseIterable, Hashable, Sendable {
    /// All workers were replaced, or told to read their settings again.
    case completed
    /// A replacement did not become ready; the current workers stay. Or a worker could not take up the settings in place.
    case aborted
    /// The settings are invalid; nothing was done.
    case refused
    /// A later reload replaces this one, or a shutdown has begun.
    case superseded
}

/// That a slot's process ended and another one takes its place.
package struct SlotRestart: Hashable, Sendable {
    /// Why the former process ended.
    package var reason: DeathReason
    /// When it did.
    package var at: MonotonicInstant
}

/// A worker's slot, which outlives its processes.
package struct WorkerID: Hashable, Sendable, Comparable {
    /// The number of the launched service, from 0 in the order of launching.
    package var group: Int
    /// The number of the slot in its group, from 0.
    package var slot: Int

    package init(group: Int, slot: Int) {
        self.group = group
        self.slot = slot
    }

    package static func < (lhs: WorkerID, rhs: WorkerID) -> Bool {
        (lhs.group, lhs.slot) < (rhs.group, rhs.slot)
    }
}

/// What a process is spawned for.
package enum SpawnTarget: Hashable, Sendable {
    /// For a slot: as its process, or as its process' successor.
    case slot(WorkerID)
    /// For a group, as a warm spare.
    case spare(group: Int)

    /// The group's number.
    package var group: Int {
        switch self {
        case .slot(let worker): worker.group
        case .spare(let group): group
        }
    }

    /// The slot's number; nil for a spare.
    package var slot: Int? {
        switch self {
        case .slot(let worker): worker.slot
        case .spare: nil
        }
    }
}

/// The end of a process.
package struct WorkerDeath: Hashable, Sendable {
    /// The slot it was in, or was made for; nil for a spare.
    package var worker: WorkerID?
    /// The launched service it belonged to.
    package var group: Int
    /// Which process it was.
    package var incarnation: Int
    /// Why it ended.
    package var reason: DeathReason
    /// How it ended.
    package var termination: Termination
    /// How long it had run; for a promoted spare, since it took over its slot.
    package var uptime: Duration
    /// Whether it had ever been ready.
    package var wasReady: Bool
    /// How long it took to end after it was told to; nil if it was not.
    package var stopTime: Duration?
}

/// Why a worker's process ended: the label `reason`.
package enum DeathReason: String, CaseIterable, Hashable, Sendable {
    /// It exited by itself.
    case exit
    /// A signal of another process, or a crash.
    case signal
    /// The kernel killed it for lack of memory.
    case outOfMemory = "oom"
    /// It hung and was aborted.
    case heartbeat
    /// It exceeded its startup timeout and was aborted.
    case startupTimeout = "startup_timeout"
    /// The operator has replaced it, or it was stopped: by scaling down, or by a shutdown.
    case requested
    /// A rolling reload has replaced it.
    case reload
    /// It was replaced because of its memory or its age, or because the application asked for it.
    case recycled
}

/// A count for each reason.
package struct DeathCounts: Hashable, Sendable {
    private var counts = [Int](repeating: 0, count: DeathReason.allCases.count)

    /// All zero.
    package init() {}

    /// The number of one reason.
    package internal(set) subscript(reason: DeathReason) -> Int {
        get { counts[Self.index(reason)] }
        set { counts[Self.index(reason)] = newValue }
    }

    /// The sum over all reasons.
    package var total: Int { counts.reduce(0, +) }

    private static func index(_ reason: DeathReason) -> Int {
        switch reason {
        case .exit: 0
        case .signal: 1
        case .outOfMemory: 2
        case .heartbeat: 3
        case .startupTimeout: 4
        case .requested: 5
        case .reload: 6
        case .recycled: 7
        }
    }
}

/// How a process ended, as reported by the kernel.
package enum Termination: Hashable, Sendable {
    /// It exited with a code.
    case exited(code: Int32)
    /// A signal ended it.
    case signaled(Int32)
}
