// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// The life of a supervisor and its workers: events in, actions out. Pure: no clock, no process, no signal; the same
/// events at the same instants lead to the same actions, the jitter included.
///
/// The phases of a process, by event. A successor takes over its slot when it is ready. Its predecessor, like any process
/// whose slot is no longer wanted, is then a former one, which only stops. The reason of an exit follows from the phase
/// (the last line); if the slot still wants a process, it gets another one.
///
/// |               | starting       | parked    | ready    | stopping   | aborting      | dying    |
/// |---------------|----------------|-----------|----------|------------|---------------|----------|
/// | parked        | parked¹        | –         | –        | –          | –             | –        |
/// | promoted      | –              | starting  | –        | –          | –             | –        |
/// | ready         | ready²         | –         | –        | –          | –             | –        |
/// | startFailed   | –³             | –         | –        | –          | –             | –        |
/// | unresponsive  | aborting²      | –         | aborting | killed⁴    | killed⁴       | –        |
/// | startup timer | aborting       |           |          |            |               |          |
/// | abort timer   |                |           |          |            | killed        |          |
/// | kill timer    |                |           |          | killed     |               |          |
/// | unwanted      | stopping       | killed    | stopping | –          | –             | –        |
/// | dying         | –              | –         | dying⁵   | –          | –             | –        |
/// | claimed       | –              | –         | dying⁵⁶  | –          | –             | –        |
/// | exited        | exit, signal,  | as        | as       | requested, | heartbeat,    | as       |
/// |               | oom            | starting  | starting | reload,    | startup_timeout | starting |
/// |               |                |           |          | recycled   |               |          |
///
/// ¹ Spares only. ² All but spares. ³ The launcher ends with status 1 if it is one of the workers of the first start and
/// has never been ready, as it does when such a worker's process cannot be spawned. ⁴ If it cannot be aborted: a crash that does not end.
/// ⁵ Where its exit would be followed by another process at once, however it ends: the slot gets that now, and what is left
/// of the old one is killed.
/// ⁶ The spare that has been told has the slot now; it is killed where the process is not ready, or ⁵ does not hold.
///
/// The stages of the supervisor, by event:
///
/// |                     | running  | delaying | stopping | halting  | finished |
/// |---------------------|----------|----------|----------|----------|----------|
/// | terminate           | delaying⁷| halting  | halting  | –        | –        |
/// | end                 | delaying⁷| –        | –        | –        | –        |
/// | interrupt           | halting  | halting  | halting  | –        | –        |
/// | policy, intensity   | delaying⁷| –        | –        | –        | –        |
/// | exit of a process   | restart  | restart  | –        | –        | –        |
/// | shutdownDelay timer |          | stopping |          |          |          |
/// | last process gone   |          | finished | finished | finished |          |
/// | halt timer          |          |          |          | finished |          |
/// | reload, mutate, scale, replace, recycle | done | – | – | –     | –        |
///
/// ⁷ Stopping at once if there is no shutdown delay, or no ready worker.
///
/// Each process has an *incarnation*, a serial number that only grows. Unknown incarnations and timers are ignored: a
/// process may be reaped before its last message is read.
package struct SupervisorState: Sendable {
    /// Where the supervisor is.
    enum Stage: Hashable, Sendable {
        case waiting
        case running
        case delaying(status: Int32)
        case stopping(status: Int32)
        case halting
        case finished
    }

    /// How long killed processes may take to exit before the supervisor finishes without them.
    private static let haltGrace = Duration.seconds(1)

    // Readable for the tests' invariants; written by this file only.
    private(set) var stage = Stage.waiting
    private(set) var groups: [Group]
    private(set) var processes = ProcessTable()
    private(set) var nextIncarnation = 1
    package private(set) var timers: [SupervisorTimer: MonotonicInstant] = [:]
    private(set) var rollingReload: RollingReload?
    /// Whether another rolling reload follows the one in progress.
    private var isReloadRemembered = false
    /// The reload in place in progress.
    private var reset: Reset?
    private let shutdownDelay: Duration
    private let seed: UInt64
    private var random: SplitMix64
    /// The instant of the present event, and what is to be done because of it.
    private var now = MonotonicInstant(nanoseconds: 0)
    private var actions: [SupervisorAction] = []

    /// Creates a supervisor that waits for `begin`.
    package init(_ configuration: SupervisorConfiguration) {
        groups = configuration.groups.map { Group($0) }
        shutdownDelay = configuration.shutdownDelay
        seed = configuration.jitterSeed
        random = SplitMix64(seed: seed)
    }

    /// Handles an event and appends the actions that follow from it. `now` never goes back.
    package mutating func handle(
        _ event: SupervisorEvent, at now: MonotonicInstant, into actions: inout [SupervisorAction]
    ) {
        guard stage != .finished else { return }
        self.now = now
        swap(&self.actions, &actions)
        dispatch(event)
        settle()
        swap(&self.actions, &actions)
    }

    private mutating func dispatch(_ event: SupervisorEvent) {
        switch event {
        case .begin: begin()
        case .spawned(let incarnation): spawned(incarnation)
        case .spawnFailed(let incarnation): spawnFailed(incarnation)
        case .parked(let incarnation): parked(incarnation)
        case .ready(let incarnation): ready(incarnation)
        case .startFailed(let incarnation): startFailed(incarnation)
        case .dying(let incarnation): dying(incarnation)
        case .claimed(let incarnation, let spare): claimed(incarnation, by: spare)
        case .exited(let incarnation, let termination, let isOutOfMemory):
            exited(incarnation, termination, isOutOfMemory: isOutOfMemory)
        case .unresponsive(let incarnation, let canAbort): unresponsive(incarnation, canAbort: canAbort)
        case .terminate: terminate()
        case .end(let status): beginShutdown(status: status)
        case .interrupt: halt()
        case .reload: reload()
        case .mutate: mutate()
        case .hasReset(let incarnation, let succeeded): hasReset(incarnation, succeeded: succeeded)
        case .reloadRefused: notify(.reloadEnded(.refused))
        case .scale(let group, let workers): scale(group, to: workers)
        case .addWorker: scaleAll(by: 1)
        case .removeWorker: scaleAll(by: -1)
        case .replace(let worker): replace(worker)
        case .recycle(let incarnation, let cause): recycle(incarnation, cause)
        case .reconfigure(let configurations): reconfigure(configurations)
        case .timer(let timer): fired(timer)
        }
    }

    private mutating func notify(_ notice: SupervisorNotice) {
        actions.append(.notice(notice))
    }

    private mutating func begin() {
        guard stage == .waiting else { return }
        stage = .running
        for group in groups.indices {
            for slot in 0..<groups[group].desired { fill(WorkerID(group: group, slot: slot)) }
        }
    }

    /// Does what follows from the present state, whichever event led to it.
    private mutating func settle() {
        switch stage {
        case .waiting, .finished: break
        case .running:
            for group in groups.indices {
                settleRecycling(of: group)
                settleSpares(of: group)
            }
        case .delaying(let status):
            let isDelayed = groups.contains { $0.slots.contains { $0.occupant == .backoff } }
            if processes.isEmpty, !isDelayed { finish(status: status) }
        case .stopping(let status):
            if processes.isEmpty { finish(status: status) }
        case .halting:
            if processes.isEmpty { finish(status: 1) }
        }
    }

    /// Applies other limits. Armed timers keep their instants. Who is to be recycled for its age or memory is found anew.
    private mutating func reconfigure(_ configurations: [WorkerGroupConfiguration]) {
        for (group, configuration) in zip(groups.indices, configurations) {
            groups[group].configuration = configuration
            groups[group].hasWarnedOfMemory = false
            checkIntensity(of: group)
        }
        for process in processes.all {
            switch process.recycling {
            case .age, .memory: processes[process.incarnation]?.recycling = nil
            case .requested, nil: break
            }
        }
        for process in processes.all where process.phase == .ready { armAge(process) }
    }
}

/// Timers.
extension SupervisorState {
    private mutating func arm(_ timer: SupervisorTimer, at instant: MonotonicInstant) {
        timers[timer] = instant
        actions.append(.arm(timer, at: instant))
    }

    private mutating func disarm(_ timer: SupervisorTimer) {
        guard timers.removeValue(forKey: timer) != nil else { return }
        actions.append(.disarm(timer))
    }

    /// Disarms the timers of a process.
    private mutating func disarmAll(of incarnation: Int) {
        disarm(.startup(incarnation))
        disarm(.kill(incarnation))
        disarm(.abort(incarnation))
        disarm(.age(incarnation))
    }

    private mutating func fired(_ timer: SupervisorTimer) {
        guard let due = timers[timer] else { return }
        guard now >= due else {
            // It was rearmed after it had fired.
            actions.append(.arm(timer, at: due))
            return
        }
        timers[timer] = nil
        switch timer {
        case .startup(let incarnation): startupTimedOut(incarnation)
        case .kill(let incarnation): stopTimedOut(incarnation)
        case .abort(let incarnation): actions.append(.kill(incarnation))
        case .backoff(let worker):
            // A slot's timer is disarmed when the slot no longer waits.
            fill(worker)
        case .age(let incarnation): recycle(incarnation, .age)
        case .recycle, .spareBackoff: break  // settle() starts the process.
        case .shutdownDelay: stopAll()
        case .halt: finish(status: 1)
        case .intensity(let group): checkIntensity(of: group)
        }
    }
}

/// Processes: from spawn to exit.
extension SupervisorState {
    @discardableResult
    private mutating func spawn(_ role: Role) -> Int {
        let incarnation = nextIncarnation
        nextIncarnation += 1
        processes.append(Process(incarnation: incarnation, role: role, startedAt: now))
        actions.append(.spawn(incarnation, role.target))
        return incarnation
    }

    private mutating func spawned(_ incarnation: Int) {
        guard let process = processes[incarnation], !process.isSpawned else { return }
        processes[incarnation]?.isSpawned = true
        processes[incarnation]?.startedAt = now
        if process.phase == .starting { armStartup(process) }
        switch process.role {
        case .current(let worker), .successor(let worker), .former(let worker): started(worker, incarnation)
        case .spare(let group): notify(.spareStarted(group: group, incarnation: incarnation))
        }
    }

    private mutating func armStartup(_ process: Process) {
        let timeout = groups[process.role.group].configuration.startupTimeout
        guard timeout > .zero else { return }
        arm(.startup(process.incarnation), at: now.advanced(by: timeout))
    }

    private mutating func started(_ worker: WorkerID, _ incarnation: Int) {
        self[worker].starts += 1
        notify(.started(worker, incarnation: incarnation))
    }

    private mutating func parked(_ incarnation: Int) {
        guard let process = processes[incarnation], process.phase == .starting else { return }
        switch process.role {
        case .current, .successor, .former: break
        case .spare(let group):
            disarm(.startup(incarnation))
            processes[incarnation]?.phase = .parked
            processes[incarnation]?.upSince = now
            notify(.spareParked(group: group, incarnation: incarnation))
        }
    }

    private mutating func ready(_ incarnation: Int) {
        guard let process = processes[incarnation], process.phase == .starting, let worker = process.role.worker else {
            return
        }
        disarm(.startup(incarnation))
        processes[incarnation]?.phase = .ready
        processes[incarnation]?.upSince = now
        self[worker].isInFirstStart = false
        notify(.ready(worker, incarnation: incarnation))
        if let process = processes[incarnation] { armAge(process) }
        if process.needsReset {
            processes[incarnation]?.needsReset = false
            actions.append(.reset(incarnation))
        }
        replacementReady(incarnation)
    }

    private mutating func startFailed(_ incarnation: Int) {
        guard let process = processes[incarnation], process.phase == .starting, !process.hasStartFailed else { return }
        processes[incarnation]?.hasStartFailed = true
        switch process.role {
        case .current(let worker):
            notify(.startFailed(worker, incarnation: incarnation))
            // A program that cannot start fails visibly, as it does in one process, whichever worker was first.
            if self[worker].isInFirstStart { beginShutdown(status: 1) }
        case .successor(let worker), .former(let worker): notify(.startFailed(worker, incarnation: incarnation))
        case .spare: break
        }
    }

    private mutating func unresponsive(_ incarnation: Int, canAbort: Bool) {
        guard let process = processes[incarnation] else { return }
        guard let worker = process.role.worker else {
            // A spare that is coming up has its timeout, and one that waits runs nothing.
            if !canAbort { discard(process, .requested) }
            return
        }
        switch process.phase {
        case .starting, .ready:
            notify(.unresponsive(worker, incarnation: incarnation))
            abort(process, .heartbeat, canAbort: canAbort)
        case .stopping, .aborting:
            if !canAbort { actions.append(.kill(incarnation)) }
        case .parked, .dying: break
        }
    }

    private mutating func startupTimedOut(_ incarnation: Int) {
        guard let process = processes[incarnation] else { return }
        notify(.startupTimedOut(process.role.target, incarnation: incarnation))
        abort(process, .startupTimeout, canAbort: true)
    }

    private mutating func stopTimedOut(_ incarnation: Int) {
        notify(.stopTimedOut(incarnation: incarnation))
        actions.append(.kill(incarnation))
    }

    private mutating func abort(_ process: Process, _ cause: ProcessPhase.AbortCause, canAbort: Bool) {
        let incarnation = process.incarnation
        disarm(.startup(incarnation))
        disarm(.age(incarnation))
        processes[incarnation]?.phase = .aborting(cause)
        let grace = groups[process.role.group].configuration.abortGrace
        guard canAbort, grace > .zero else {
            actions.append(.kill(incarnation))
            return
        }
        actions.append(.abort(incarnation))
        arm(.abort(incarnation), at: now.advanced(by: grace))
    }

    /// Stops a process that is starting or ready; all others are already ending.
    private mutating func stop(_ incarnation: Int, _ cause: ProcessPhase.StopCause) {
        guard let process = processes[incarnation] else { return }
        switch process.phase {
        case .starting, .ready:
            disarm(.startup(incarnation))
            disarm(.age(incarnation))
            processes[incarnation]?.phase = .stopping(cause)
            processes[incarnation]?.stoppedAt = now
            actions.append(.stop(incarnation))
            let timeout = groups[process.role.group].configuration.stopTimeout
            if timeout > .zero { arm(.kill(incarnation), at: now.advanced(by: timeout)) }
        case .parked, .stopping, .aborting, .dying: break
        }
        replacementStopping(incarnation)
    }

    private mutating func exited(_ incarnation: Int, _ termination: Termination, isOutOfMemory: Bool) {
        guard let process = processes.remove(incarnation) else { return }
        disarmAll(of: incarnation)
        let reason = process.phase.reason(termination, isOutOfMemory: isOutOfMemory)
        let worker = process.role.worker
        if let worker {
            self[worker].deaths[reason] += 1
        } else {
            groups[process.role.group].spareDeaths[reason] += 1
        }
        notify(
            .died(
                WorkerDeath(
                    worker: worker, group: process.role.group, incarnation: incarnation, reason: reason,
                    termination: termination,
                    uptime: process.startedAt.duration(to: now), wasReady: process.readySince != nil,
                    stopTime: process.stoppedAt.map { $0.duration(to: now) })))
        switch process.role {
        case .current(let worker): slotEnded(worker, process, reason, termination)
        case .former(let worker) where process.phase == .dying: recordRestart(worker, reason, after: .zero)
        case .successor(let worker): successorEnded(worker, process)
        case .former: break
        case .spare(let group): spareEnded(process, of: group)
        }
        replacementEnded(incarnation)
        noLongerResetting(incarnation)
    }

    private mutating func spawnFailed(_ incarnation: Int) {
        guard let process = processes[incarnation], !process.isSpawned else { return }
        processes[incarnation] = nil
        disarmAll(of: incarnation)
        var delay = Duration.zero
        switch process.role {
        case .current(let worker): delay = slotSpawnFailed(worker)
        case .successor(let worker): successorEnded(worker, process)
        case .former: break
        case .spare(let group): delay = delaySpare(of: group, afterUp: .zero)
        }
        notify(.spawnFailed(process.role.target, incarnation: incarnation, delay: delay))
        replacementEnded(incarnation)
    }
}

/// Slots: the next process, back-off, intensity.
extension SupervisorState {
    /// The shortest delay after a failed spawn, whatever the settings say: an immediate retry would fail again.
    private static let shortestSpawnDelay = Duration.milliseconds(10)

    private subscript(worker: WorkerID) -> Slot {
        get { groups[worker.group].slots[worker.slot] }
        set { groups[worker.group].slots[worker.slot] = newValue }
    }

    /// Fills a slot with a parked spare or a new process.
    private mutating func fill(_ worker: WorkerID) {
        guard let incarnation = parkedSpare(of: worker.group) else {
            self[worker].occupant = .process(spawn(.current(worker)))
            return
        }
        actions.append(.promote(incarnation, worker))
        promoted(incarnation, to: worker)
    }

    private mutating func promoted(_ incarnation: Int, to worker: WorkerID) {
        self[worker].occupant = .process(incarnation)
        processes[incarnation]?.role = .current(worker)
        processes[incarnation]?.phase = .starting
        processes[incarnation]?.startedAt = now
        processes[incarnation]?.upSince = nil
        if let process = processes[incarnation] { armStartup(process) }
        started(worker, incarnation)
    }

    /// A slot's process has begun to end.
    private mutating func dying(_ incarnation: Int) {
        guard let worker = slotOfReplaceable(incarnation) else { return }
        leaveSlot(worker, dying: incarnation)
        refill(worker, after: .zero)
    }

    /// A slot's process has begun to end, and a spare has been told to take the slot over.
    private mutating func claimed(_ incarnation: Int, by spare: Int) {
        guard let heir = processes[spare], case .spare(let group) = heir.role, heir.phase == .parked else { return }
        // Meanwhile the slot is no longer wanted, waits for its next process, or has it already: the spare is one too many.
        guard let worker = slotOfReplaceable(incarnation), worker.group == group, successor(of: worker) == nil else {
            return discard(heir, .requested)
        }
        leaveSlot(worker, dying: incarnation)
        self[worker].latestDelay = .zero
        actions.append(.promoted(spare, worker))
        promoted(spare, to: worker)
    }

    /// The slot of a process whose end would be followed by another process at once, however it ends.
    private func slotOfReplaceable(_ incarnation: Int, afterAtLeast least: Duration = .zero) -> WorkerID? {
        guard isServing, let process = processes[incarnation], process.phase == .ready,
            case .current(let worker) = process.role
        else { return nil }
        let configuration = groups[worker.group].configuration
        guard configuration.policy == .always, configuration.intensity?.whenExceeded != .escalate else { return nil }
        var backoff = self[worker].backoff
        backoff.died(afterReady: max(uptime(of: process), least), configuration.backoff)
        return backoff.delay(configuration.backoff) == .zero ? worker : nil
    }

    private mutating func leaveSlot(_ worker: WorkerID, dying incarnation: Int) {
        guard let process = processes[incarnation] else { return }
        disarm(.age(incarnation))
        processes[incarnation]?.phase = .dying
        processes[incarnation]?.role = .former(worker)
        actions.append(.finishOff(incarnation))
        notify(.dying(worker, incarnation: incarnation))
        self[worker].occupant = .empty
        _ = nextDelay(worker, afterReady: uptime(of: process))
        countRestart(worker.group)
    }

    private func uptime(of process: Process) -> Duration {
        process.readySince.map { $0.duration(to: now) } ?? .zero
    }

    /// A slot's process has ended.
    private mutating func slotEnded(
        _ worker: WorkerID, _ process: Process, _ reason: DeathReason, _ termination: Termination
    ) {
        self[worker].occupant = .empty
        guard isServing else { return }
        let succeeded = reason == .exit && termination == .exited(code: 0)
        switch groups[worker.group].configuration.policy {
        case .always: break
        case .onFailure:
            guard succeeded else { break }
            slotCompleted(worker)
            return
        case .never:
            beginShutdown(status: succeeded ? 0 : 1)
            return
        }
        let delay = nextDelay(worker, afterReady: uptime(of: process))
        countRestart(worker.group)
        guard isServing else { return }
        restart(worker, reason, after: delay)
    }

    /// A slot's process could not be spawned. Returns the delay until the next attempt.
    private mutating func slotSpawnFailed(_ worker: WorkerID) -> Duration {
        self[worker].occupant = .empty
        guard isServing else { return .zero }
        guard !self[worker].isInFirstStart else {
            // What cannot work at the first start will not work later: there is no program, no /proc, no descriptor left.
            beginShutdown(status: 1)
            return .zero
        }
        let delay = max(nextDelay(worker, afterReady: .zero), Self.shortestSpawnDelay)
        countRestart(worker.group)
        guard isServing else { return .zero }
        refill(worker, after: delay)
        return delay
    }

    private mutating func nextDelay(_ worker: WorkerID, afterReady uptime: Duration) -> Duration {
        let settings = groups[worker.group].configuration.backoff
        self[worker].backoff.died(afterReady: uptime, settings)
        return self[worker].backoff.delay(settings, using: &random)
    }

    private mutating func restart(_ worker: WorkerID, _ reason: DeathReason, after delay: Duration) {
        recordRestart(worker, reason, after: successor(of: worker) == nil ? delay : .zero)
        refill(worker, after: delay)
    }

    private mutating func recordRestart(_ worker: WorkerID, _ reason: DeathReason, after delay: Duration) {
        self[worker].recordRestart(reason, at: now)
        notify(.restarting(worker, reason, delay: delay))
    }

    /// Gives an empty slot its next process: its starting successor, or a new one after the delay.
    private mutating func refill(_ worker: WorkerID, after delay: Duration) {
        if let successor = successor(of: worker) {
            processes[successor]?.role = .current(worker)
            self[worker].occupant = .process(successor)
            self[worker].latestDelay = .zero
            return
        }
        self[worker].latestDelay = delay
        guard delay > .zero else { return fill(worker) }
        self[worker].occupant = .backoff
        arm(.backoff(worker), at: now.advanced(by: delay))
    }

    private mutating func slotCompleted(_ worker: WorkerID) {
        self[worker].occupant = .finished
        notify(.completed(worker))
        if let successor = successor(of: worker) { stopAsFormer(successor, .requested) }
        finishIfCompleted()
    }

    /// Ends the launcher when no slot wants a process any more.
    private mutating func finishIfCompleted() {
        guard groups.allSatisfy({ $0.isFinished }), groups.contains(where: { $0.hasFinishedSlot }) else { return }
        beginShutdown(status: 0)
    }

    /// Stops a process that has lost its slot.
    private mutating func stopAsFormer(_ incarnation: Int, _ cause: ProcessPhase.StopCause) {
        guard let worker = processes[incarnation]?.role.worker else { return }
        processes[incarnation]?.role = .former(worker)
        stop(incarnation, cause)
    }

    // MARK: Intensity

    /// Counts a restart, or another attempt at a spawn, because of which the launcher may end.
    private mutating func countRestart(_ group: Int) {
        guard stage == .running, let intensity = groups[group].configuration.intensity else { return }
        let wasExceeded = groups[group].window.isExceeded
        groups[group].window.record(at: now, intensity)
        guard groups[group].window.isExceeded else { return }
        if !wasExceeded { notify(.intensityExceeded(group: group)) }
        switch intensity.whenExceeded {
        case .absorb: checkIntensity(of: group)
        case .escalate: beginShutdown(status: 1)
        }
    }

    /// Checks whether a group that restarted too often is back to normal.
    private mutating func checkIntensity(of group: Int) {
        // A shutdown arms no timer that it does not need.
        guard stage == .running, groups[group].window.isExceeded else { return }
        let intensity = groups[group].configuration.intensity
        groups[group].window.check(at: now, intensity)
        if groups[group].window.isExceeded, let intensity, let calm = groups[group].window.calm(intensity) {
            arm(.intensity(group), at: calm)
        } else {
            disarm(.intensity(group))
            notify(.intensityCalm(group: group))
        }
    }
}

/// Replacements: a slot's process is stopped once another one, its successor, is ready.
extension SupervisorState {
    /// Replaces a slot's process on the operator's request.
    private mutating func replace(_ worker: WorkerID) {
        guard stage == .running, groups.indices.contains(worker.group),
            (0..<groups[worker.group].desired).contains(worker.slot), successor(of: worker) == nil
        else { return }
        switch self[worker].occupant {
        case .process(let incarnation):
            // An ending one is about to be replaced.
            if isServing(incarnation) { spawnSuccessor(of: worker, .requested) }
        case .backoff:
            // The next process is due anyway; start it now.
            disarm(.backoff(worker))
            fill(worker)
        case .empty, .finished: break
        }
    }

    /// Starts a process that takes over a slot when it is ready.
    @discardableResult
    private mutating func spawnSuccessor(of worker: WorkerID, _ cause: ProcessPhase.StopCause) -> Int {
        let incarnation = spawn(.successor(worker))
        processes[incarnation]?.replaces = cause
        return incarnation
    }

    private func successor(of worker: WorkerID) -> Int? {
        processes.all.last { $0.role == .successor(worker) }?.incarnation
    }

    private mutating func takeOver(_ worker: WorkerID, _ successor: Process) {
        let predecessor = self[worker].incarnation
        processes[successor.incarnation]?.role = .current(worker)
        self[worker].occupant = .process(successor.incarnation)
        self[worker].latestDelay = .zero
        recordRestart(worker, successor.replaces.reason, after: .zero)
        guard let predecessor else { return }
        stopAsFormer(predecessor, successor.replaces)
        if rollingReload?.step == .starting(successor.incarnation) { rollingReload?.step = .draining(predecessor) }
    }

    /// A successor has not become ready: the slot's process stays.
    private mutating func successorEnded(_ worker: WorkerID, _ process: Process) {
        guard process.replaces != .reload else { return }
        notify(.replacementFailed(worker, incarnation: process.incarnation))
    }
}

/// Recycling: a worker that has grown or aged, or asks for it, is replaced when it is its turn.
extension SupervisorState {
    private mutating func armAge(_ process: Process) {
        disarm(.age(process.incarnation))
        guard stage == .running, let since = process.readySince,
            let age = groups[process.role.group].configuration.recycle.age(share: share(of: process.incarnation))
        else { return }
        arm(.age(process.incarnation), at: max(now, since.advanced(by: age)))
    }

    private func share(of incarnation: Int) -> Double {
        RecyclePolicy.share(of: incarnation, seed: seed)
    }

    /// A process is to be recycled. The first reason counts.
    private mutating func recycle(_ incarnation: Int, _ cause: RecycleCause) {
        guard stage == .running, isServing(incarnation), let process = processes[incarnation],
            let worker = process.role.worker, process.recycling == nil
        else { return }
        processes[incarnation]?.recycling = cause
        groups[worker.group].isRecycling = true
        guard case .memory = cause, !groups[worker.group].hasWarnedOfMemory,
            uptime(of: process) < groups[worker.group].configuration.recycle.minimumAge
        else { return }
        groups[worker.group].hasWarnedOfMemory = true
        notify(.tooLargeTooSoon(worker, incarnation: incarnation, cause))
    }

    /// Starts the successor of a process that is to be recycled, or arms the timer for when that is due.
    private mutating func settleRecycling(of group: Int) {
        guard groups[group].isRecycling else { return }
        let policy = groups[group].configuration.recycle
        var underWay = 0
        var isWanted = false
        var next: (worker: WorkerID, process: Process, due: MonotonicInstant)?
        for process in processes.all where process.role.group == group {
            switch process.role {
            case .successor:
                underWay += process.replaces == .recycled ? 1 : 0
                isWanted = isWanted || process.recycling != nil
            case .former: underWay += process.phase == .stopping(.recycled) ? 1 : 0
            case .current(let worker):
                guard process.recycling != nil, isServing(process.incarnation) else { continue }
                isWanted = true
                // A start is not interrupted, and one that is being replaced needs nothing more.
                guard let since = process.readySince, successor(of: worker) == nil else { continue }
                let due = max(since.advanced(by: policy.minimumAge), process.recycledFrom)
                if next.map({ due < $0.due }) ?? true { next = (worker, process, due) }
            case .spare: break
            }
        }
        groups[group].isRecycling = isWanted
        let workers = groups[group].desired
        // A roll replaces all of them.
        guard let next, let cause = next.process.recycling, rollingReload == nil,
            underWay < RecyclePolicy.atOnce(of: workers)
        else { return disarm(.recycle(group)) }
        let due = max(next.due, groups[group].recycledFrom)
        guard due <= now else {
            if timers[.recycle(group)] != due { arm(.recycle(group), at: due) }
            return
        }
        disarm(.recycle(group))
        groups[group].recycledFrom = now.advanced(by: policy.pause(of: workers))
        // If it fails.
        processes[next.process.incarnation]?.recycledFrom = now.advanced(by: max(policy.minimumAge, .seconds(1)))
        notify(.recycling(next.worker, incarnation: next.process.incarnation, cause))
        spawnSuccessor(of: next.worker, .recycled)
        settleRecycling(of: group)
    }
}

/// Reloads: a rolling restart, or new settings for the present processes.
extension SupervisorState {
    private mutating func reload() {
        guard stage == .running else { return }
        guard rollingReload != nil else { return beginRollingReload() }
        // One more rolling reload reads the latest settings, however many were requested.
        if isReloadRemembered { notify(.reloadEnded(.superseded)) }
        isReloadRemembered = true
    }

    private mutating func mutate() {
        guard stage == .running else { return }
        if reset != nil { notify(.resetEnded(.superseded)) }
        notify(.reloadBegan)
        var reset = Reset()
        for process in processes.all {
            switch (process.role, process.phase) {
            case (.current, .ready), (.successor, .ready):
                reset.waitsFor.insert(process.incarnation)
                actions.append(.reset(process.incarnation))
            case (.current, .starting), (.successor, .starting):
                reset.waitsFor.insert(process.incarnation)
                processes[process.incarnation]?.needsReset = true
            case (.spare, _): discard(process, .reload)
            case (.current, _), (.successor, _), (.former, _): break
            }
        }
        self.reset = reset
        endResetIfDone()
    }

    private mutating func hasReset(_ incarnation: Int, succeeded: Bool) {
        guard reset?.waitsFor.remove(incarnation) != nil else { return }
        if !succeeded { reset?.hasFailed = true }
        endResetIfDone()
    }

    /// A process is ending: its successor has the new settings.
    private mutating func noLongerResetting(_ incarnation: Int) {
        if reset?.waitsFor.remove(incarnation) != nil { endResetIfDone() }
    }

    private mutating func endResetIfDone() {
        guard let reset, reset.waitsFor.isEmpty else { return }
        self.reset = nil
        notify(.resetEnded(reset.hasFailed ? .aborted : .completed))
    }

    private mutating func beginRollingReload() {
        notify(.reloadBegan)
        rollingReload = RollingReload(youngest: nextIncarnation)
        for process in processes.all {
            switch process.role {
            case .spare: discard(process, .reload)
            // It is older than the settings, too.
            case .successor: stopAsFormer(process.incarnation, .requested)
            case .current, .former: break
            }
        }
        advanceRollingReload()
    }

    /// Continues with the next slot whose process is older than the reload.
    private mutating func advanceRollingReload() {
        guard let rollingReload else { return }
        for group in groups.indices {
            for slot in 0..<groups[group].desired {
                guard let incarnation = groups[group].slots[slot].incarnation, incarnation < rollingReload.youngest,
                    let process = processes[incarnation]
                else { continue }
                switch process.phase {
                case .starting, .ready:
                    let worker = WorkerID(group: group, slot: slot)
                    let successor = successor(of: worker) ?? spawnSuccessor(of: worker, .reload)
                    self.rollingReload?.step = .starting(successor)
                    return
                case .parked, .stopping, .aborting, .dying:
                    // The slot's next process is new anyway.
                    continue
                }
            }
        }
        endRollingReload(.completed)
    }

    private mutating func endRollingReload(_ outcome: ReloadOutcome) {
        rollingReload = nil
        notify(.reloadEnded(outcome))
        guard isReloadRemembered else { return }
        isReloadRemembered = false
        beginRollingReload()
    }

    /// Abandons the reload in progress, and the remembered one, because of a shutdown.
    private mutating func abandonReload() {
        if rollingReload != nil { notify(.reloadEnded(.superseded)) }
        if isReloadRemembered { notify(.reloadEnded(.superseded)) }
        if reset != nil { notify(.resetEnded(.superseded)) }
        rollingReload = nil
        isReloadRemembered = false
        reset = nil
    }

    /// A process is ready: the rolling reload may be waiting for it.
    private mutating func replacementReady(_ incarnation: Int) {
        guard let process = processes[incarnation] else { return }
        if case .successor(let worker) = process.role { return takeOver(worker, process) }
        // Its predecessor has died meanwhile.
        guard rollingReload?.step == .starting(incarnation) else { return }
        rollingReload?.step = .next
        advanceRollingReload()
    }

    /// A process is being stopped: if the rolling reload waits for it to be ready, it waits for its exit instead.
    private mutating func replacementStopping(_ incarnation: Int) {
        if rollingReload?.step == .starting(incarnation) { rollingReload?.step = .draining(incarnation) }
    }

    /// A process has exited, or could not be spawned.
    private mutating func replacementEnded(_ incarnation: Int) {
        guard stage == .running else { return }
        switch rollingReload?.step {
        case .starting(incarnation): endRollingReload(.aborted)
        case .draining(incarnation):
            rollingReload?.step = .next
            advanceRollingReload()
        case .starting, .draining, .next, nil: break
        }
    }
}

/// Scaling.
extension SupervisorState {
    private mutating func scaleAll(by difference: Int) {
        for group in groups.indices {
            let desired = groups[group].desired
            // A signal never scales a service to zero.
            guard difference > 0 || desired > 1 else { continue }
            scale(group, to: desired + difference)
        }
    }

    private mutating func scale(_ group: Int, to workers: Int) {
        guard stage == .running, groups.indices.contains(group) else { return }
        let before = groups[group].desired
        let after = max(0, workers)
        guard before != after else { return }
        groups[group].desired = after
        while groups[group].slots.count < after { groups[group].slots.append(Slot()) }
        notify(.scaled(group: group, to: after))
        if after > before {
            for slot in before..<after { fill(WorkerID(group: group, slot: slot)) }
        } else {
            for slot in (after..<before).reversed() { clear(WorkerID(group: group, slot: slot)) }
            finishIfCompleted()
        }
    }

    private mutating func clear(_ worker: WorkerID) {
        let successor = successor(of: worker)
        switch self[worker].occupant {
        case .process(let incarnation): stopAsFormer(incarnation, .requested)
        case .backoff: disarm(.backoff(worker))
        case .empty, .finished: break
        }
        self[worker].occupant = .empty
        if let successor { stopAsFormer(successor, .requested) }
    }
}

/// Warm spares: processes that wait for a slot.
extension SupervisorState {
    private func parkedSpare(of group: Int) -> Int? {
        processes.all.first { $0.role == .spare(group: group) && $0.phase == .parked }?.incarnation
    }

    /// Starts missing spares and kills surplus ones.
    private mutating func settleSpares(of group: Int) {
        let wanted = groups[group].desired > 0 && groups[group].isFinished ? 0 : groups[group].configuration.warmSpares
        var present = 0
        var staying = 0
        var isComingUp = false
        for process in processes.all where process.role.group == group {
            switch process.role {
            case .spare:
                present += 1
                guard !process.phase.isStopping else { continue }
                staying += 1
                if staying > wanted { discard(process, .requested) }
            case .current, .successor: isComingUp = isComingUp || process.phase == .starting
            case .former: break
            }
        }
        // Its start would compete with that of the worker.
        guard !isComingUp, timers[.spareBackoff(group)] == nil else { return }
        while present < wanted {
            spawn(.spare(group: group))
            present += 1
        }
    }

    /// Kills a spare, which has no work to finish.
    private mutating func discard(_ process: Process, _ cause: ProcessPhase.StopCause) {
        switch process.phase {
        case .starting, .parked, .ready, .aborting:
            disarmAll(of: process.incarnation)
            processes[process.incarnation]?.phase = .stopping(cause)
            actions.append(.kill(process.incarnation))
        case .stopping, .dying: break
        }
    }

    private mutating func spareEnded(_ process: Process, of group: Int) {
        guard stage == .running, !process.phase.isStopping else { return }
        let uptime = process.upSince.map { $0.duration(to: now) } ?? .zero
        _ = delaySpare(of: group, afterUp: uptime)
    }

    /// Delays the group's next spare, by the rule for slots.
    private mutating func delaySpare(of group: Int, afterUp uptime: Duration) -> Duration {
        guard stage == .running else { return .zero }
        let settings = groups[group].configuration.backoff
        groups[group].spareBackoff.died(afterReady: uptime, settings)
        var delay = groups[group].spareBackoff.delay(settings, using: &random)
        // Never retry at once after a spare that did not come up: settle() would loop.
        if uptime == .zero { delay = max(delay, .milliseconds(10)) }
        if delay > .zero { arm(.spareBackoff(group), at: now.advanced(by: delay)) }
        return delay
    }
}

/// Shutdown, graceful or immediate.
extension SupervisorState {
    private mutating func terminate() {
        switch stage {
        case .waiting, .running: beginShutdown(status: 0)
        case .delaying, .stopping: halt()
        case .halting, .finished: break
        }
    }

    /// Begins the graceful shutdown, unless a shutdown has begun.
    private mutating func beginShutdown(status: Int32) {
        guard stage == .running || stage == .waiting else { return }
        stage = .delaying(status: status)
        notify(.shutdownBegan(status: status))
        giveUpExtras()
        var isServing = false
        for process in processes.all {
            disarm(.age(process.incarnation))
            switch process.role {
            case .current: isServing = isServing || process.phase == .ready
            case .successor: stopAsFormer(process.incarnation, .requested)
            case .spare: discard(process, .requested)
            case .former: break
            }
        }
        if shutdownDelay > .zero, isServing {
            arm(.shutdownDelay, at: now.advanced(by: shutdownDelay))
        } else {
            stopAll()
        }
    }

    private mutating func stopAll() {
        guard case .delaying(let status) = stage else { return }
        stage = .stopping(status: status)
        giveUpBackoffs()
        for process in processes.all { stop(process.incarnation, .requested) }
    }

    /// Begins the immediate shutdown.
    private mutating func halt() {
        guard stage != .halting else { return }
        stage = .halting
        notify(.halted)
        giveUpExtras()
        giveUpBackoffs()
        disarm(.shutdownDelay)
        for process in processes.all {
            disarmAll(of: process.incarnation)
            // It will never take over its slot.
            if case .successor(let worker) = process.role { processes[process.incarnation]?.role = .former(worker) }
            switch process.phase {
            case .starting, .parked, .ready: processes[process.incarnation]?.phase = .stopping(.requested)
            case .stopping, .aborting, .dying: break
            }
            actions.append(.kill(process.incarnation))
        }
        arm(.halt, at: now.advanced(by: Self.haltGrace))
    }

    /// Cancels what would start processes beside those that serve.
    private mutating func giveUpExtras() {
        abandonReload()
        for group in groups.indices {
            disarm(.spareBackoff(group))
            disarm(.recycle(group))
            disarm(.intensity(group))
        }
    }

    /// Leaves slots empty whose next process is delayed.
    private mutating func giveUpBackoffs() {
        for group in groups.indices {
            for slot in groups[group].slots.indices where groups[group].slots[slot].occupant == .backoff {
                disarm(.backoff(WorkerID(group: group, slot: slot)))
                groups[group].slots[slot].occupant = .empty
            }
        }
    }

    private mutating func finish(status: Int32) {
        stage = .finished
        for process in processes.all { disarmAll(of: process.incarnation) }
        disarm(.shutdownDelay)
        disarm(.halt)
        actions.append(.finish(status: status))
    }
}

/// Queries.
extension SupervisorState {
    /// Whether workers that exit are replaced: also in the shutdown delay, in which everything is still served.
    private var isServing: Bool {
        switch stage {
        case .running, .delaying: true
        case .waiting, .stopping, .halting, .finished: false
        }
    }

    package var phase: SupervisorPhase {
        switch stage {
        case .waiting, .running: .running
        case .delaying, .stopping: .stopping
        case .halting: .halting
        case .finished: .finished
        }
    }

    /// Whether every slot that wants a process has one that is ready, and no shutdown has begun.
    package var isEveryWorkerReady: Bool {
        guard stage == .running else { return false }
        return groups.allSatisfy { group in
            group.slots[..<group.desired].allSatisfy { slot in
                switch slot.occupant {
                case .process(let incarnation): processes[incarnation]?.phase == .ready
                case .finished: true
                case .empty, .backoff: false
                }
            }
        }
    }

    /// Whether a group has a ready worker, and no shutdown has begun.
    package func isReady(group: Int) -> Bool {
        guard stage == .running, groups.indices.contains(group) else { return false }
        return processes.all.contains { process in
            switch process.role {
            case .current(let worker): worker.group == group && process.phase == .ready
            case .successor, .former, .spare: false
            }
        }
    }

    /// The state for reports.
    package func snapshot(at now: MonotonicInstant) -> SupervisorSnapshot {
        SupervisorSnapshot(
            phase: phase, isReloading: rollingReload != nil, groups: groups.indices.map { snapshot(of: $0, at: now) })
    }

    private func snapshot(of group: Int, at now: MonotonicInstant) -> WorkerGroupSnapshot {
        var parked = 0
        var starting = 0
        var surplus = 0
        var successors = 0
        for process in processes.all where process.role.group == group {
            switch process.role {
            case .current: break
            case .successor:
                surplus += 1
                successors += 1
            case .former: surplus += 1
            case .spare:
                if process.phase == .parked { parked += 1 }
                if process.phase == .starting { starting += 1 }
            }
        }
        let slots = groups[group].slots.indices.map { snapshot(of: WorkerID(group: group, slot: $0), at: now) }
        return WorkerGroupSnapshot(
            configuration: groups[group].configuration, workers: groups[group].desired, slots: slots,
            sparesParked: parked, sparesStarting: starting, spareDeathsByReason: groups[group].spareDeaths,
            surplus: surplus, successors: successors,
            isReady: isReady(group: group),
            isOverIntensity: groups[group].window.isExceeded)
    }

    private func snapshot(of worker: WorkerID, at now: MonotonicInstant) -> WorkerSnapshot {
        let slot = self[worker]
        let process: Process?
        let state: WorkerSnapshot.State
        switch slot.occupant {
        case .process(let incarnation):
            process = processes[incarnation]
            state = process?.phase.snapshotState ?? .empty
        case .empty:
            process = processes.all.last { $0.role == .former(worker) }
            state = process?.phase.snapshotState ?? .empty
        case .backoff:
            process = nil
            state = .backoff
        case .finished:
            process = nil
            state = .finished
        }
        let settings = groups[worker.group].configuration.backoff
        let isStable = process?.readySince.map { $0.duration(to: now) >= settings.stableTime } ?? false
        return WorkerSnapshot(
            worker: worker, state: state, incarnation: process?.incarnation, startedAt: process?.startedAt,
            readySince: process?.readySince, starts: slot.starts, restartsByReason: slot.restarts,
            latestRestart: slot.latestRestart,
            deathsByReason: slot.deaths, currentDelay: isStable ? .zero : slot.latestDelay,
            nextStart: timers[.backoff(worker)])
    }
}

/// Queries of the driver.
extension SupervisorState {
    package func groupName(_ group: Int) -> String {
        groups.indices.contains(group) ? groups[group].configuration.name : "\(group)"
    }

    /// How long an aborted process may take to write its backtraces.
    package func abortGrace(ofGroup group: Int) -> Duration {
        groups.indices.contains(group) ? groups[group].configuration.abortGrace : .zero
    }

    private static let shortestMemoryInterval = Duration.milliseconds(100)

    /// How often workers' memory has to be read; nil where it has no limit.
    package func memoryInterval(atMost longest: Duration) -> Duration? {
        guard stage == .running else { return nil }
        let policies = groups.lazy.map(\.configuration.recycle).filter { $0.memory > 0 }
        return policies.map { min(longest, max($0.minimumAge, Self.shortestMemoryInterval)) }.min()
    }

    /// Whether a worker has to be recycled because of its memory, and that is not known yet.
    package func exceedsMemory(_ incarnation: Int, bytes: Int) -> Bool {
        guard let process = processes[incarnation], process.recycling == nil else { return false }
        return groups[process.role.group].configuration.recycle.exceedsMemory(bytes, share: share(of: incarnation))
    }

    /// Whether hangs of a process are detected: only of ready workers. Starting and stopping ones have their timeouts.
    package func isJudged(_ incarnation: Int) -> Bool {
        processes[incarnation]?.phase == .ready
    }

    /// The spares that may be told of a bell, by group: they take the rung one's slot over, which is then `claimed`.
    package var heirs: [Int: Int] {
        guard isServing else { return [:] }
        var heirs: [Int: Int] = [:]
        for group in groups.indices where groups[group].configuration.warmSpares > 0 {
            heirs[group] = parkedSpare(of: group)
        }
        return heirs
    }

    /// The slot that a spare may claim at the bell of a process. What it is when the process becomes ready, it is until the
    /// process is told to end: a slot's credit only grows meanwhile.
    package func claimableSlot(of incarnation: Int) -> WorkerID? {
        slotOfReplaceable(incarnation, afterAtLeast: .nanoseconds(1))
    }

    /// Whether a process is to serve, now or once it has started.
    package func isServing(_ incarnation: Int) -> Bool {
        switch processes[incarnation]?.phase {
        case .starting, .ready: true
        case .parked, .stopping, .aborting, .dying, nil: false
        }
    }

    /// Whether a process has begun to end and been finished off.
    package func isDying(_ incarnation: Int) -> Bool {
        processes[incarnation]?.phase == .dying
    }

    /// Whether a process has been told to end, in a way that it has to run for.
    package func isEnding(_ incarnation: Int) -> Bool {
        processes[incarnation]?.phase.isStopping ?? false
    }

    /// Whether a shutdown has reached the point where workers are stopped.
    package var isStoppingWorkers: Bool {
        switch stage {
        case .waiting, .running, .delaying: false
        case .stopping, .halting, .finished: true
        }
    }
}

/// What the state consists of.
extension SupervisorState {
    /// The processes, sorted by incarnation.
    struct ProcessTable: Sendable {
        private(set) var all: [Process] = []

        var isEmpty: Bool { all.isEmpty }

        /// Setting nil removes the process; an unknown incarnation cannot be set.
        subscript(incarnation: Int) -> Process? {
            get { index(of: incarnation).map { all[$0] } }
            set {
                guard let index = index(of: incarnation) else { return }
                if let newValue { all[index] = newValue } else { all.remove(at: index) }
            }
        }

        mutating func append(_ process: Process) {
            all.append(process)
        }

        mutating func remove(_ incarnation: Int) -> Process? {
            index(of: incarnation).map { all.remove(at: $0) }
        }

        private func index(of incarnation: Int) -> Int? {
            var range = all.startIndex..<all.endIndex
            while !range.isEmpty {
                let middle = range.lowerBound + range.count / 2
                if all[middle].incarnation == incarnation { return middle }
                range =
                    all[middle].incarnation < incarnation ? middle + 1..<range.upperBound : range.lowerBound..<middle
            }
            return nil
        }
    }

    /// A process that has not been reaped.
    struct Process: Hashable, Sendable {
        let incarnation: Int
        var role: Role
        var phase = ProcessPhase.starting
        /// Whether it exists; until then, its spawn is only requested.
        var isSpawned = false
        /// When it was spawned, or took over its slot.
        var startedAt: MonotonicInstant
        /// When it became ready, or was parked.
        var upSince: MonotonicInstant?
        /// When it was told to stop.
        var stoppedAt: MonotonicInstant?
        /// Whether it may have read its settings before they were changed.
        var needsReset = false
        /// Whether it has said that its service did not start.
        var hasStartFailed = false
        /// Why a successor was started.
        var replaces = ProcessPhase.StopCause.reload
        /// Why it is to be recycled.
        var recycling: RecycleCause?
        /// When it may be recycled, after an attempt that failed.
        var recycledFrom = MonotonicInstant(nanoseconds: 0)

        /// Since when it has been ready as a worker.
        var readySince: MonotonicInstant? {
            switch role {
            case .current, .successor, .former: upSince
            case .spare: nil
            }
        }
    }

    /// A worker's slot and its history.
    struct Slot: Hashable, Sendable {
        enum Occupant: Hashable, Sendable {
            case empty
            case process(Int)
            /// The next process is delayed.
            case backoff
            /// By the policy, it needs no further process.
            case finished
        }

        /// Whether it is there from the beginning, and no process of it has been ready.
        var isInFirstStart = false
        var occupant = Occupant.empty
        var backoff = RestartBackoffState()
        var starts = 0
        private(set) var restarts = DeathCounts()
        /// Nil while it has its first process.
        private(set) var latestRestart: SlotRestart?
        var deaths = DeathCounts()
        /// How long the latest restart was delayed.
        var latestDelay = Duration.zero

        mutating func recordRestart(_ reason: DeathReason, at now: MonotonicInstant) {
            restarts[reason] += 1
            latestRestart = SlotRestart(reason: reason, at: now)
        }

        var incarnation: Int? {
            switch occupant {
            case .process(let incarnation): incarnation
            case .empty, .backoff, .finished: nil
            }
        }
    }

    /// A launched service's workers.
    struct Group: Sendable {
        var configuration: WorkerGroupConfiguration
        /// The desired number of workers: the slots from 0 on.
        var desired: Int
        /// All slots that ever existed, so that their counts continue.
        var slots: [Slot]
        var spareBackoff = RestartBackoffState()
        var spareDeaths = DeathCounts()
        var window = RestartWindow()
        /// Whether a process is to be recycled.
        var isRecycling = false
        /// When the next one may be recycled.
        var recycledFrom = MonotonicInstant(nanoseconds: 0)
        var hasWarnedOfMemory = false

        init(_ configuration: WorkerGroupConfiguration) {
            self.configuration = configuration
            desired = max(0, configuration.workers)
            slots = Array(repeating: Slot(isInFirstStart: true), count: desired)
        }

        /// Whether no slot wants a process any more.
        var isFinished: Bool {
            slots[..<desired].allSatisfy { $0.occupant == .finished } && configuration.policy == .onFailure
        }

        /// Whether a slot is finished.
        var hasFinishedSlot: Bool {
            slots[..<desired].contains { $0.occupant == .finished }
        }
    }

    /// A rolling reload in progress.
    struct RollingReload: Hashable, Sendable {
        enum Step: Hashable, Sendable {
            /// To continue with the next slot.
            case next
            /// Waiting for a new process to be ready: a successor, or already its slot's process.
            case starting(Int)
            /// Waiting for an old process to exit, so that there is never more than one surplus process.
            case draining(Int)
        }

        /// Processes from this incarnation on need no replacement.
        let youngest: Int
        var step = Step.next
    }

    /// A reload in place in progress.
    struct Reset: Hashable, Sendable {
        /// The processes that have not answered.
        var waitsFor: Set<Int> = []
        var hasFailed = false
    }

    /// What a process is for.
    enum Role: Hashable, Sendable {
        /// It is its slot's process.
        case current(WorkerID)
        /// It takes over its slot when it is ready.
        case successor(WorkerID)
        /// It has lost its slot and only has to exit.
        case former(WorkerID)
        /// It waits for a slot.
        case spare(group: Int)

        /// The slot it is in, or was spawned for.
        var worker: WorkerID? {
            switch self {
            case .current(let worker), .successor(let worker), .former(let worker): worker
            case .spare: nil
            }
        }

        var group: Int {
            switch self {
            case .current(let worker), .successor(let worker), .former(let worker): worker.group
            case .spare(let group): group
            }
        }

        /// What it was spawned for.
        var target: SpawnTarget {
            switch self {
            case .current(let worker), .successor(let worker), .former(let worker): .slot(worker)
            case .spare(let group): .spare(group: group)
            }
        }
    }

    /// The phase of a process.
    enum ProcessPhase: Hashable, Sendable {
        /// Why a process was asked to stop.
        enum StopCause: Hashable, Sendable {
            case requested
            case reload
            case recycled

            var reason: DeathReason {
                switch self {
                case .requested: .requested
                case .reload: .reload
                case .recycled: .recycled
                }
            }
        }

        /// Why a process was aborted.
        enum AbortCause: Hashable, Sendable {
            case heartbeat
            case startupTimeout
        }

        case starting
        /// A spare that has come up.
        case parked
        case ready
        case stopping(StopCause)
        case aborting(AbortCause)
        /// It has begun to end, and its slot has another one.
        case dying

        var isStopping: Bool {
            switch self {
            case .stopping: true
            case .starting, .parked, .ready, .aborting, .dying: false
            }
        }

        /// The reason of an exit in this phase.
        func reason(_ termination: Termination, isOutOfMemory: Bool) -> DeathReason {
            switch self {
            case .aborting(.heartbeat): .heartbeat
            case .aborting(.startupTimeout): .startupTimeout
            case .stopping(let cause): cause.reason
            case .starting, .parked, .ready, .dying:
                switch termination {
                case .signaled: isOutOfMemory ? .outOfMemory : .signal
                case .exited: .exit
                }
            }
        }

        var snapshotState: WorkerSnapshot.State {
            switch self {
            case .starting, .parked: .starting
            case .ready: .ready
            case .stopping, .dying: .stopping
            case .aborting: .aborting
            }
        }
    }
}
