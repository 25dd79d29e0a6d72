// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// The life of a supervisor and its workers: events in, actions out. Pure: no clock, no process, no signal; the same
/// events at the same instants lead to the same actions, the jitter included.
///
/// The phases of a process, by what happens to it. A successor takes its slot over when it gets ready; its predecessor,
/// and any process whose slot is no longer wanted or has another one, is a former one from then on and only stops. An
/// end is counted by the phase it comes in (the last line) and, if the slot wants a process, followed by another one.
///
/// |               | starting       | parked    | ready    | stopping   | aborting      |
/// |---------------|----------------|-----------|----------|------------|---------------|
/// | parked        | parked¹        | –         | –        | –          | –             |
/// | promoted      | –              | starting  | –        | –          | –             |
/// | ready         | ready²         | –         | –        | –          | –             |
/// | startFailed   | –³             | –         | –        | –          | –             |
/// | unresponsive  | aborting²      | –         | aborting | –          | –             |
/// | startup timer | aborting       |           |          |            |               |
/// | abort timer   |                |           |          |            | killed        |
/// | kill timer    |                |           |          | killed     |               |
/// | not wanted    | stopping       | killed    | stopping | –          | –             |
/// | exited        | exit, signal,  | as        | as       | requested, | heartbeat,    |
/// |               | oom            | starting  | starting | reload     | startup_timeout |
///
/// ¹ Spares only. ² All but spares. ³ The launcher ends with status 1 if no worker of the group has ever been ready.
///
/// The stages of the supervisor, by what is asked of it:
///
/// |                     | running  | delaying | stopping | halting  | finished |
/// |---------------------|----------|----------|----------|----------|----------|
/// | terminate           | delaying⁴| halting  | halting  | –        | –        |
/// | end                 | delaying⁴| –        | –        | –        | –        |
/// | interrupt           | halting  | halting  | halting  | –        | –        |
/// | policy, intensity   | delaying⁴|          |          |          |          |
/// | shutdownDelay timer |          | stopping |          |          |          |
/// | last process gone   |          | finished | finished | finished |          |
/// | halt timer          |          |          |          | finished |          |
/// | reload, mutate, scale, replace | done | –  | –        | –        | –        |
///
/// ⁴ Stopping at once if there is no shutdown delay, or no worker left that could use it.
///
/// Births and timers that are not known, or no longer, are passed over: a process may be reaped before its last message
/// is read.
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

    /// How long a killed process may take to be gone before the end comes without it.
    static let haltGrace = Duration.seconds(1)

    let shutdownDelay: Duration
    var stage = Stage.waiting
    var groups: [WorkerGroup]
    var processes = ProcessTable()
    var nextBirth = 1
    var timers: [SupervisorTimer: MonotonicInstant] = [:]
    var roll: RollingReload?
    /// Whether another roll follows the one under way.
    var isReloadRemembered = false
    var random: SplitMix64

    /// Creates a supervisor that waits for `begin`.
    package init(_ configuration: SupervisorConfiguration) {
        groups = configuration.groups.map { WorkerGroup($0) }
        shutdownDelay = configuration.shutdownDelay
        random = SplitMix64(seed: configuration.jitterSeed)
    }

    /// Takes an event in.
    ///
    /// - Parameters:
    ///   - event: What has happened.
    ///   - now: When. Never before the instant of an event before.
    ///   - actions: Where what has to be done is appended.
    package mutating func handle(
        _ event: SupervisorEvent, at now: MonotonicInstant, into actions: inout [SupervisorAction]
    ) {
        guard stage != .finished else { return }
        var turn = SupervisorTurn(now: now)
        swap(&turn.actions, &actions)
        take(event, &turn)
        settle(&turn)
        swap(&turn.actions, &actions)
    }

    private mutating func take(_ event: SupervisorEvent, _ turn: inout SupervisorTurn) {
        switch event {
        case .begin: begin(&turn)
        case .spawned(let birth): spawned(birth, &turn)
        case .spawnFailed(let birth): spawnFailed(birth, &turn)
        case .parked(let birth): parked(birth, &turn)
        case .ready(let birth): ready(birth, &turn)
        case .startFailed(let birth): startFailed(birth, &turn)
        case .exited(let birth, let termination, let isOutOfMemory):
            exited(birth, termination, isOutOfMemory: isOutOfMemory, &turn)
        case .unresponsive(let birth, let canAbort): unresponsive(birth, canAbort: canAbort, &turn)
        case .terminate: terminate(&turn)
        case .end(let status): beginShutdown(status: status, &turn)
        case .interrupt: halt(&turn)
        case .reload: reload(&turn)
        case .mutate: mutate(&turn)
        case .reloadRefused: turn.notice(.reloadEnded(.refused))
        case .scale(let group, let workers): scale(group, to: workers, &turn)
        case .addWorker: scaleAll(by: 1, &turn)
        case .removeWorker: scaleAll(by: -1, &turn)
        case .replace(let worker): replace(worker, &turn)
        case .reconfigure(let configurations): reconfigure(configurations, &turn)
        case .timer(let timer): fired(timer, &turn)
        }
    }

    private mutating func begin(_ turn: inout SupervisorTurn) {
        guard stage == .waiting else { return }
        stage = .running
        for group in groups.indices {
            for slot in 0..<groups[group].asked { fill(WorkerID(group: group, slot: slot), &turn) }
        }
    }

    /// What follows from where everything is now, whichever event led there.
    private mutating func settle(_ turn: inout SupervisorTurn) {
        switch stage {
        case .waiting, .finished: break
        case .running:
            for group in groups.indices { settleSpares(of: group, &turn) }
        case .delaying(let status), .stopping(let status):
            if processes.isEmpty { finish(status: status, &turn) }
        case .halting:
            if processes.isEmpty { finish(status: 1, &turn) }
        }
    }

    /// Takes other limits over. Timers that are armed keep their instants.
    private mutating func reconfigure(_ configurations: [WorkerGroupConfiguration], _ turn: inout SupervisorTurn) {
        for (group, configuration) in zip(groups.indices, configurations) {
            groups[group].configuration = configuration
            checkIntensity(of: group, &turn)
        }
    }
}

/// What a process goes through.
extension SupervisorState {
    /// Asks for a process.
    @discardableResult
    mutating func spawn(_ role: WorkerRole, _ turn: inout SupervisorTurn) -> Int {
        let birth = nextBirth
        nextBirth += 1
        processes.append(WorkerProcess(birth: birth, role: role, startedAt: turn.now))
        turn.actions.append(.spawn(birth, role.target))
        return birth
    }

    mutating func spawned(_ birth: Int, _ turn: inout SupervisorTurn) {
        guard let process = processes[birth], !process.isSpawned else { return }
        processes[birth]?.isSpawned = true
        processes[birth]?.startedAt = turn.now
        if process.phase == .starting { armStartup(process, &turn) }
        switch process.role {
        case .current(let worker), .successor(let worker), .former(let worker): started(worker, birth, &turn)
        case .spare(let group): turn.notice(.spareStarted(group: group, birth: birth))
        }
    }

    mutating func armStartup(_ process: WorkerProcess, _ turn: inout SupervisorTurn) {
        let timeout = groups[process.role.group].configuration.startupTimeout
        guard timeout > .zero else { return }
        arm(.startup(process.birth), at: turn.now.advanced(by: timeout), &turn)
    }

    mutating func started(_ worker: WorkerID, _ birth: Int, _ turn: inout SupervisorTurn) {
        groups[worker.group].slots[worker.slot].starts += 1
        turn.notice(.started(worker, birth: birth))
    }

    mutating func parked(_ birth: Int, _ turn: inout SupervisorTurn) {
        guard let process = processes[birth], process.phase == .starting else { return }
        switch process.role {
        case .current, .successor, .former: break
        case .spare(let group):
            disarm(.startup(birth), &turn)
            processes[birth]?.phase = .parked
            processes[birth]?.upSince = turn.now
            turn.notice(.spareParked(group: group, birth: birth))
        }
    }

    mutating func ready(_ birth: Int, _ turn: inout SupervisorTurn) {
        guard let process = processes[birth], process.phase == .starting, let worker = process.role.worker else {
            return
        }
        disarm(.startup(birth), &turn)
        processes[birth]?.phase = .ready
        processes[birth]?.upSince = turn.now
        groups[worker.group].hasBeenReady = true
        turn.notice(.ready(worker, birth: birth))
        if process.needsReset {
            processes[birth]?.needsReset = false
            turn.actions.append(.reset(birth))
        }
        rollReady(birth, &turn)
    }

    mutating func startFailed(_ birth: Int, _ turn: inout SupervisorTurn) {
        guard let process = processes[birth], process.phase == .starting else { return }
        switch process.role {
        case .current(let worker):
            turn.notice(.startFailed(worker, birth: birth))
            // A program that cannot start at all shall fail visibly, as it does in one process.
            if !groups[worker.group].hasBeenReady { beginShutdown(status: 1, &turn) }
        case .successor(let worker), .former(let worker): turn.notice(.startFailed(worker, birth: birth))
        case .spare: break
        }
    }

    mutating func unresponsive(_ birth: Int, canAbort: Bool, _ turn: inout SupervisorTurn) {
        guard let process = processes[birth], let worker = process.role.worker else { return }
        switch process.phase {
        case .starting, .ready:
            turn.notice(.unresponsive(worker, birth: birth))
            abort(process, .heartbeat, canAbort: canAbort, &turn)
        case .parked, .stopping, .aborting: break
        }
    }

    mutating func startupTimedOut(_ birth: Int, _ turn: inout SupervisorTurn) {
        guard let process = processes[birth] else { return }
        turn.notice(.startupTimedOut(process.role.target, birth: birth))
        abort(process, .startupTimeout, canAbort: true, &turn)
    }

    mutating func stopTimedOut(_ birth: Int, _ turn: inout SupervisorTurn) {
        turn.notice(.stopTimedOut(birth: birth))
        turn.actions.append(.kill(birth))
    }

    private mutating func abort(
        _ process: WorkerProcess, _ cause: ProcessPhase.AbortCause, canAbort: Bool, _ turn: inout SupervisorTurn
    ) {
        let birth = process.birth
        disarm(.startup(birth), &turn)
        processes[birth]?.phase = .aborting(cause)
        let grace = groups[process.role.group].configuration.abortGrace
        guard canAbort, grace > .zero else {
            turn.actions.append(.kill(birth))
            return
        }
        turn.actions.append(.abort(birth))
        arm(.abort(birth), at: turn.now.advanced(by: grace), &turn)
    }

    /// Asks a process to stop that serves, or is about to; any other one is on its way out already.
    mutating func stop(_ birth: Int, _ cause: ProcessPhase.StopCause, _ turn: inout SupervisorTurn) {
        guard let process = processes[birth] else { return }
        switch process.phase {
        case .starting, .ready:
            disarm(.startup(birth), &turn)
            processes[birth]?.phase = .stopping(cause)
            turn.actions.append(.stop(birth))
            let timeout = groups[process.role.group].configuration.stopTimeout
            if timeout > .zero { arm(.kill(birth), at: turn.now.advanced(by: timeout), &turn) }
        case .parked, .stopping, .aborting: break
        }
        rollStopping(birth)
    }

    mutating func exited(
        _ birth: Int, _ termination: Termination, isOutOfMemory: Bool, _ turn: inout SupervisorTurn
    ) {
        guard let process = processes.remove(birth) else { return }
        disarmAll(of: birth, &turn)
        let reason = process.phase.reason(termination, isOutOfMemory: isOutOfMemory)
        let worker = process.role.worker
        if let worker { groups[worker.group].slots[worker.slot].deaths[reason] += 1 }
        turn.notice(
            .died(
                WorkerDeath(
                    worker: worker, group: process.role.group, birth: birth, reason: reason, termination: termination,
                    uptime: process.startedAt.duration(to: turn.now), wasReady: process.readySince != nil)))
        switch process.role {
        case .current(let worker): slotEnded(worker, process, reason, termination, &turn)
        case .successor, .former: break
        case .spare(let group): spareEnded(process, of: group, &turn)
        }
        rollEnded(birth, &turn)
    }

    mutating func spawnFailed(_ birth: Int, _ turn: inout SupervisorTurn) {
        guard let process = processes[birth], !process.isSpawned else { return }
        processes[birth] = nil
        disarmAll(of: birth, &turn)
        var delay = Duration.zero
        switch process.role {
        case .current(let worker): delay = slotSpawnFailed(worker, &turn)
        case .successor, .former: break
        case .spare(let group): delay = delaySpare(of: group, afterUp: .zero, &turn)
        }
        turn.notice(.spawnFailed(process.role.target, birth: birth, delay: delay))
        rollEnded(birth, &turn)
    }
}

/// What a slot gets after its process.
extension SupervisorState {
    /// The shortest delay after a process could not be made: that fails again at once, whatever the settings say.
    private static let shortestSpawnDelay = Duration.milliseconds(10)

    /// Gives a slot its process: a parked spare if there is one, else a new one.
    mutating func fill(_ worker: WorkerID, _ turn: inout SupervisorTurn) {
        guard let birth = parkedSpare(of: worker.group) else {
            groups[worker.group].slots[worker.slot].occupant = .process(spawn(.current(worker), &turn))
            return
        }
        groups[worker.group].slots[worker.slot].occupant = .process(birth)
        processes[birth]?.role = .current(worker)
        processes[birth]?.phase = .starting
        processes[birth]?.startedAt = turn.now
        processes[birth]?.upSince = nil
        turn.actions.append(.promote(birth, worker))
        if let process = processes[birth] { armStartup(process, &turn) }
        started(worker, birth, &turn)
    }

    /// A slot's process has ended.
    mutating func slotEnded(
        _ worker: WorkerID, _ process: WorkerProcess, _ reason: DeathReason, _ termination: Termination,
        _ turn: inout SupervisorTurn
    ) {
        groups[worker.group].slots[worker.slot].occupant = .empty
        guard stage == .running else { return }
        guard !process.phase.isStopping else {
            // The operator wanted a new one.
            restart(worker, reason, after: .zero, &turn)
            return
        }
        let succeeded = reason == .exit && termination == .exited(code: 0)
        switch groups[worker.group].configuration.policy {
        case .always: break
        case .onFailure:
            guard succeeded else { break }
            slotCompleted(worker, &turn)
            return
        case .never:
            beginShutdown(status: succeeded ? 0 : 1, &turn)
            return
        }
        let uptime = process.readySince.map { $0.duration(to: turn.now) } ?? .zero
        let delay = nextDelay(worker, afterReady: uptime)
        guard !escalates(worker.group, &turn) else { return }
        restart(worker, reason, after: delay, &turn)
    }

    /// A slot's process could not be made.
    ///
    /// - Returns: When it is tried again.
    mutating func slotSpawnFailed(_ worker: WorkerID, _ turn: inout SupervisorTurn) -> Duration {
        groups[worker.group].slots[worker.slot].occupant = .empty
        guard stage == .running else { return .zero }
        let delay = max(nextDelay(worker, afterReady: .zero), Self.shortestSpawnDelay)
        guard !escalates(worker.group, &turn) else { return .zero }
        refill(worker, after: delay, &turn)
        return delay
    }

    private mutating func nextDelay(_ worker: WorkerID, afterReady uptime: Duration) -> Duration {
        let settings = groups[worker.group].configuration.backoff
        groups[worker.group].slots[worker.slot].backoff.died(afterReady: uptime, settings)
        return groups[worker.group].slots[worker.slot].backoff.delay(settings, using: &random)
    }

    private mutating func restart(
        _ worker: WorkerID, _ reason: DeathReason, after delay: Duration, _ turn: inout SupervisorTurn
    ) {
        let successor = successor(of: worker)
        groups[worker.group].slots[worker.slot].noteRestart(reason, at: turn.now)
        turn.notice(.restarting(worker, reason, delay: successor == nil ? delay : .zero))
        refill(worker, after: delay, &turn)
    }

    /// Gives an empty slot its next process: the successor that is coming up already, or one after the delay.
    private mutating func refill(_ worker: WorkerID, after delay: Duration, _ turn: inout SupervisorTurn) {
        if let successor = successor(of: worker) {
            processes[successor]?.role = .current(worker)
            groups[worker.group].slots[worker.slot].occupant = .process(successor)
            groups[worker.group].slots[worker.slot].latestDelay = .zero
            return
        }
        groups[worker.group].slots[worker.slot].latestDelay = delay
        guard delay > .zero else { return fill(worker, &turn) }
        groups[worker.group].slots[worker.slot].occupant = .backoff
        arm(.backoff(worker), at: turn.now.advanced(by: delay), &turn)
    }

    private mutating func slotCompleted(_ worker: WorkerID, _ turn: inout SupervisorTurn) {
        groups[worker.group].slots[worker.slot].occupant = .finished
        turn.notice(.completed(worker))
        if let successor = successor(of: worker) { stopAsFormer(successor, .requested, &turn) }
        finishIfCompleted(&turn)
    }

    /// Ends the launcher when no slot wants a process any more.
    mutating func finishIfCompleted(_ turn: inout SupervisorTurn) {
        guard groups.allSatisfy({ $0.isFinished }), groups.contains(where: { $0.hasFinishedSlot }) else { return }
        beginShutdown(status: 0, &turn)
    }

    /// Stops a process whose slot is no longer wanted, or has another one.
    mutating func stopAsFormer(_ birth: Int, _ cause: ProcessPhase.StopCause, _ turn: inout SupervisorTurn) {
        guard let worker = processes[birth]?.role.worker else { return }
        processes[birth]?.role = .former(worker)
        stop(birth, cause, &turn)
    }

    /// Puts a new process into a slot, at the operator's wish.
    mutating func replace(_ worker: WorkerID, _ turn: inout SupervisorTurn) {
        guard stage == .running, groups.indices.contains(worker.group),
            (0..<groups[worker.group].asked).contains(worker.slot), successor(of: worker) == nil
        else { return }
        switch groups[worker.group].slots[worker.slot].occupant {
        case .process(let birth): stop(birth, .requested, &turn)
        case .backoff:
            // A new one is due anyway: then now.
            disarm(.backoff(worker), &turn)
            fill(worker, &turn)
        case .empty, .finished: break
        }
    }

    // MARK: Intensity

    /// Takes a restart of a slot, or another attempt at its process, in.
    ///
    /// - Returns: Whether the launcher ends for it.
    private mutating func escalates(_ group: Int, _ turn: inout SupervisorTurn) -> Bool {
        guard let intensity = groups[group].configuration.intensity else { return false }
        let wasExceeded = groups[group].window.isExceeded
        groups[group].window.record(at: turn.now, intensity)
        guard groups[group].window.isExceeded else { return false }
        if !wasExceeded { turn.notice(.intensityExceeded(group: group)) }
        switch intensity.whenExceeded {
        case .absorb:
            checkIntensity(of: group, &turn)
            return false
        case .escalate:
            beginShutdown(status: 1, &turn)
            return true
        }
    }

    /// Looks whether a group that has restarted too often has calmed down.
    mutating func checkIntensity(of group: Int, _ turn: inout SupervisorTurn) {
        // An end that is under way arms no timer that it does not need.
        guard stage == .running, groups[group].window.isExceeded else { return }
        let intensity = groups[group].configuration.intensity
        groups[group].window.check(at: turn.now, intensity)
        if groups[group].window.isExceeded, let intensity, let calm = groups[group].window.calm(intensity) {
            arm(.intensity(group), at: calm, &turn)
        } else {
            disarm(.intensity(group), &turn)
            turn.notice(.intensityCalm(group: group))
        }
    }
}

/// Reloads: one new process after the other, or the same ones with new settings.
extension SupervisorState {
    mutating func reload(_ turn: inout SupervisorTurn) {
        guard stage == .running else { return }
        guard roll != nil else { return beginRoll(&turn) }
        // One more roll reads the latest settings, however often it was asked for.
        if isReloadRemembered { turn.notice(.reloadEnded(.superseded)) }
        isReloadRemembered = true
    }

    mutating func mutate(_ turn: inout SupervisorTurn) {
        guard stage == .running else { return }
        turn.notice(.reloadBegan)
        for process in processes.all {
            switch (process.role, process.phase) {
            case (.current, .ready), (.successor, .ready): turn.actions.append(.reset(process.birth))
            case (.current, .starting), (.successor, .starting): processes[process.birth]?.needsReset = true
            case (.spare, _): discard(process, .reload, &turn)
            case (.current, _), (.successor, _), (.former, _): break
            }
        }
        turn.notice(.reloadEnded(.completed))
    }

    private mutating func beginRoll(_ turn: inout SupervisorTurn) {
        turn.notice(.reloadBegan)
        roll = RollingReload(youngest: nextBirth)
        for process in processes.all {
            switch process.role {
            case .spare: discard(process, .reload, &turn)
            case .current, .successor, .former: break
            }
        }
        advanceRoll(&turn)
    }

    /// Goes on to the next slot with a process from before the roll.
    private mutating func advanceRoll(_ turn: inout SupervisorTurn) {
        guard let roll else { return }
        for group in groups.indices {
            for slot in 0..<groups[group].asked {
                guard let birth = groups[group].slots[slot].birth, birth < roll.youngest,
                    let process = processes[birth]
                else { continue }
                switch process.phase {
                case .starting, .ready:
                    let successor = spawn(.successor(WorkerID(group: group, slot: slot)), &turn)
                    self.roll?.step = .starting(successor)
                    return
                case .parked, .stopping, .aborting:
                    // The slot's next process is new anyway.
                    continue
                }
            }
        }
        endRoll(.completed, &turn)
    }

    private mutating func endRoll(_ outcome: ReloadOutcome, _ turn: inout SupervisorTurn) {
        roll = nil
        turn.notice(.reloadEnded(outcome))
        guard isReloadRemembered else { return }
        isReloadRemembered = false
        beginRoll(&turn)
    }

    /// Gives up the roll, and the one after it, because the launcher ends.
    mutating func abandonRoll(_ turn: inout SupervisorTurn) {
        if roll != nil { turn.notice(.reloadEnded(.superseded)) }
        if isReloadRemembered { turn.notice(.reloadEnded(.superseded)) }
        roll = nil
        isReloadRemembered = false
    }

    /// The process that is coming up to replace a slot's.
    func successor(of worker: WorkerID) -> Int? {
        switch roll?.step {
        case .starting(let birth): processes[birth]?.role == .successor(worker) ? birth : nil
        case .next, .draining, nil: nil
        }
    }

    /// A process is ready: it may be what the roll waits for.
    mutating func rollReady(_ birth: Int, _ turn: inout SupervisorTurn) {
        guard roll?.step == .starting(birth), let process = processes[birth] else { return }
        switch process.role {
        case .successor(let worker): takeOver(worker, process, &turn)
        case .current, .former, .spare:
            // Its predecessor died before.
            roll?.step = .next
            advanceRoll(&turn)
        }
    }

    private mutating func takeOver(_ worker: WorkerID, _ successor: WorkerProcess, _ turn: inout SupervisorTurn) {
        let predecessor = groups[worker.group].slots[worker.slot].birth
        processes[successor.birth]?.role = .current(worker)
        groups[worker.group].slots[worker.slot].occupant = .process(successor.birth)
        groups[worker.group].slots[worker.slot].noteRestart(.reload, at: turn.now)
        groups[worker.group].slots[worker.slot].latestDelay = .zero
        turn.notice(.restarting(worker, .reload, delay: .zero))
        if let predecessor {
            stopAsFormer(predecessor, .reload, &turn)
            roll?.step = .draining(predecessor)
        }
    }

    /// A process is asked to stop: if it was to get ready for the roll, the roll waits for its end instead.
    mutating func rollStopping(_ birth: Int) {
        if roll?.step == .starting(birth) { roll?.step = .draining(birth) }
    }

    /// A process is gone, or could not be made.
    mutating func rollEnded(_ birth: Int, _ turn: inout SupervisorTurn) {
        guard stage == .running else { return }
        switch roll?.step {
        case .starting(birth): endRoll(.aborted, &turn)
        case .draining(birth):
            roll?.step = .next
            advanceRoll(&turn)
        case .starting, .draining, .next, nil: break
        }
    }
}

/// Other numbers of workers.
extension SupervisorState {
    mutating func scaleAll(by difference: Int, _ turn: inout SupervisorTurn) {
        for group in groups.indices {
            let asked = groups[group].asked
            // A signal shall not be able to take a service away.
            guard difference > 0 || asked > 1 else { continue }
            scale(group, to: asked + difference, &turn)
        }
    }

    mutating func scale(_ group: Int, to workers: Int, _ turn: inout SupervisorTurn) {
        guard stage == .running, groups.indices.contains(group) else { return }
        let before = groups[group].asked
        let after = max(0, workers)
        guard before != after else { return }
        groups[group].asked = after
        while groups[group].slots.count < after { groups[group].slots.append(WorkerSlot()) }
        turn.notice(.scaled(group: group, to: after))
        if after > before {
            for slot in before..<after { fill(WorkerID(group: group, slot: slot), &turn) }
        } else {
            for slot in (after..<before).reversed() { clear(WorkerID(group: group, slot: slot), &turn) }
            finishIfCompleted(&turn)
        }
    }

    private mutating func clear(_ worker: WorkerID, _ turn: inout SupervisorTurn) {
        let successor = successor(of: worker)
        switch groups[worker.group].slots[worker.slot].occupant {
        case .process(let birth): stopAsFormer(birth, .requested, &turn)
        case .backoff: disarm(.backoff(worker), &turn)
        case .empty, .finished: break
        }
        groups[worker.group].slots[worker.slot].occupant = .empty
        if let successor { stopAsFormer(successor, .requested, &turn) }
    }
}

/// Processes that wait for a slot.
extension SupervisorState {
    /// A spare that has come up.
    func parkedSpare(of group: Int) -> Int? {
        processes.all.first { $0.role == .spare(group: group) && $0.phase == .parked }?.birth
    }

    /// Makes the spares that are missing, and does away with those that are too many.
    mutating func settleSpares(of group: Int, _ turn: inout SupervisorTurn) {
        let wanted = groups[group].asked > 0 && groups[group].isFinished ? 0 : groups[group].configuration.warmSpares
        var present = 0
        var staying = 0
        var isComingUp = false
        for process in processes.all where process.role.group == group {
            switch process.role {
            case .spare:
                present += 1
                guard !process.phase.isStopping else { continue }
                staying += 1
                if staying > wanted { discard(process, .requested, &turn) }
            case .current, .successor: isComingUp = isComingUp || process.phase == .starting
            case .former: break
            }
        }
        // Its start would compete with the one that is waited for.
        guard !isComingUp, timers[.spareBackoff(group)] == nil else { return }
        while present < wanted {
            spawn(.spare(group: group), &turn)
            present += 1
        }
    }

    /// Kills a spare: it has nothing to finish.
    mutating func discard(_ process: WorkerProcess, _ cause: ProcessPhase.StopCause, _ turn: inout SupervisorTurn) {
        switch process.phase {
        case .starting, .parked, .ready, .aborting:
            disarmAll(of: process.birth, &turn)
            processes[process.birth]?.phase = .stopping(cause)
            turn.actions.append(.kill(process.birth))
        case .stopping: break
        }
    }

    mutating func spareEnded(_ process: WorkerProcess, of group: Int, _ turn: inout SupervisorTurn) {
        guard stage == .running, !process.phase.isStopping else { return }
        let uptime = process.upSince.map { $0.duration(to: turn.now) } ?? .zero
        _ = delaySpare(of: group, afterUp: uptime, &turn)
    }

    /// Lets the group's next spare wait, by the rule for slots.
    mutating func delaySpare(of group: Int, afterUp uptime: Duration, _ turn: inout SupervisorTurn) -> Duration {
        guard stage == .running else { return .zero }
        let settings = groups[group].configuration.backoff
        groups[group].spareBackoff.died(afterReady: uptime, settings)
        var delay = groups[group].spareBackoff.delay(settings, using: &random)
        // A spare that never comes up is made again at once by no setting: settling would go round and round.
        if uptime == .zero { delay = max(delay, .milliseconds(10)) }
        if delay > .zero { arm(.spareBackoff(group), at: turn.now.advanced(by: delay), &turn) }
        return delay
    }
}

/// The end, graceful or at once.
extension SupervisorState {
    mutating func terminate(_ turn: inout SupervisorTurn) {
        switch stage {
        case .waiting, .running: beginShutdown(status: 0, &turn)
        case .delaying, .stopping: halt(&turn)
        case .halting, .finished: break
        }
    }

    /// Begins the graceful end, unless an end is under way.
    mutating func beginShutdown(status: Int32, _ turn: inout SupervisorTurn) {
        guard stage == .running || stage == .waiting else { return }
        stage = .delaying(status: status)
        turn.notice(.shutdownBegan(status: status))
        giveUpPlans(&turn)
        var isServing = false
        for process in processes.all {
            switch process.role {
            case .current: isServing = isServing || process.phase == .ready
            case .successor: stopAsFormer(process.birth, .requested, &turn)
            case .spare: discard(process, .requested, &turn)
            case .former: break
            }
        }
        if shutdownDelay > .zero, isServing {
            arm(.shutdownDelay, at: turn.now.advanced(by: shutdownDelay), &turn)
        } else {
            stopAll(&turn)
        }
    }

    /// Asks every worker to stop.
    mutating func stopAll(_ turn: inout SupervisorTurn) {
        guard case .delaying(let status) = stage else { return }
        stage = .stopping(status: status)
        for process in processes.all { stop(process.birth, .requested, &turn) }
    }

    /// Kills everything, unless that has been done.
    mutating func halt(_ turn: inout SupervisorTurn) {
        guard stage != .halting else { return }
        stage = .halting
        turn.notice(.halted)
        giveUpPlans(&turn)
        disarm(.shutdownDelay, &turn)
        for process in processes.all {
            disarmAll(of: process.birth, &turn)
            // It will never be its slot's process.
            if case .successor(let worker) = process.role { processes[process.birth]?.role = .former(worker) }
            switch process.phase {
            case .starting, .parked, .ready: processes[process.birth]?.phase = .stopping(.requested)
            case .stopping, .aborting: break
            }
            turn.actions.append(.kill(process.birth))
        }
        arm(.halt, at: turn.now.advanced(by: Self.haltGrace), &turn)
    }

    /// Gives up what would lead to further processes.
    private mutating func giveUpPlans(_ turn: inout SupervisorTurn) {
        abandonRoll(&turn)
        for group in groups.indices {
            disarm(.spareBackoff(group), &turn)
            disarm(.intensity(group), &turn)
            for slot in groups[group].slots.indices where groups[group].slots[slot].occupant == .backoff {
                disarm(.backoff(WorkerID(group: group, slot: slot)), &turn)
                groups[group].slots[slot].occupant = .empty
            }
        }
    }

    mutating func finish(status: Int32, _ turn: inout SupervisorTurn) {
        stage = .finished
        for process in processes.all { disarmAll(of: process.birth, &turn) }
        disarm(.shutdownDelay, &turn)
        disarm(.halt, &turn)
        turn.actions.append(.finish(status: status))
    }
}

extension SupervisorState {
    mutating func arm(_ timer: SupervisorTimer, at instant: MonotonicInstant, _ turn: inout SupervisorTurn) {
        timers[timer] = instant
        turn.actions.append(.arm(timer, at: instant))
    }

    mutating func disarm(_ timer: SupervisorTimer, _ turn: inout SupervisorTurn) {
        guard timers.removeValue(forKey: timer) != nil else { return }
        turn.actions.append(.disarm(timer))
    }

    /// Disarms what a process that is gone, or does something else from now on, was waited for with.
    mutating func disarmAll(of birth: Int, _ turn: inout SupervisorTurn) {
        disarm(.startup(birth), &turn)
        disarm(.kill(birth), &turn)
        disarm(.abort(birth), &turn)
    }

    mutating func fired(_ timer: SupervisorTimer, _ turn: inout SupervisorTurn) {
        guard let due = timers[timer] else { return }
        guard turn.now >= due else {
            // It was moved after it had fired.
            turn.actions.append(.arm(timer, at: due))
            return
        }
        timers[timer] = nil
        switch timer {
        case .startup(let birth): startupTimedOut(birth, &turn)
        case .kill(let birth): stopTimedOut(birth, &turn)
        case .abort(let birth): turn.actions.append(.kill(birth))
        case .backoff(let worker):
            // A slot's timer is disarmed when the slot no longer waits.
            fill(worker, &turn)
        case .spareBackoff: break  // Settling makes the spare.
        case .shutdownDelay: stopAll(&turn)
        case .halt: finish(status: 1, &turn)
        case .intensity(let group): checkIntensity(of: group, &turn)
        }
    }
}

/// What can be asked.
extension SupervisorState {
    /// Where the supervisor is.
    package var phase: SupervisorPhase {
        switch stage {
        case .waiting, .running: .running
        case .delaying, .stopping: .stopping
        case .halting: .halting
        case .finished: .finished
        }
    }

    /// Whether every slot that wants a process has one that is ready, and no end has been asked for.
    package var isEveryWorkerReady: Bool {
        guard stage == .running else { return false }
        return groups.allSatisfy { group in
            group.slots[..<group.asked].allSatisfy { slot in
                switch slot.occupant {
                case .process(let birth): processes[birth]?.phase == .ready
                case .finished: true
                case .empty, .backoff: false
                }
            }
        }
    }

    /// Whether a group has a ready worker and does not restart too often, and no end has been asked for.
    package func isReady(group: Int) -> Bool {
        guard stage == .running, groups.indices.contains(group) else { return false }
        return !groups[group].window.isExceeded
            && processes.all.contains { process in
                switch process.role {
                case .current(let worker): worker.group == group && process.phase == .ready
                case .successor, .former, .spare: false
                }
            }
    }

    /// What a process is there for; nil when it is gone.
    package func role(of birth: Int) -> WorkerRole? { processes[birth]?.role }

    /// Everything, at one instant.
    package func snapshot(at now: MonotonicInstant) -> SupervisorSnapshot {
        SupervisorSnapshot(
            phase: phase, isReloading: roll != nil, groups: groups.indices.map { snapshot(of: $0, at: now) })
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
            configuration: groups[group].configuration, workers: groups[group].asked, slots: slots,
            sparesParked: parked, sparesStarting: starting, surplus: surplus, successors: successors,
            isReady: isReady(group: group),
            isOverIntensity: groups[group].window.isExceeded)
    }

    private func snapshot(of worker: WorkerID, at now: MonotonicInstant) -> WorkerSnapshot {
        let slot = groups[worker.group].slots[worker.slot]
        let process: WorkerProcess?
        let state: WorkerSnapshot.State
        switch slot.occupant {
        case .process(let birth):
            process = processes[birth]
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
            worker: worker, state: state, birth: process?.birth, startedAt: process?.startedAt,
            readySince: process?.readySince, starts: slot.starts, restartsByReason: slot.restarts,
            latestRestart: slot.latestRestart,
            deathsByReason: slot.deaths, currentDelay: isStable ? .zero : slot.latestDelay)
    }
}

extension ProcessPhase {
    fileprivate var snapshotState: WorkerSnapshot.State {
        switch self {
        case .starting, .parked: .starting
        case .ready: .ready
        case .stopping: .stopping
        case .aborting: .aborting
        }
    }
}

/// What the driver has to know of the processes that it owns.
extension SupervisorState {
    /// A group's name.
    package func groupName(_ group: Int) -> String {
        groups.indices.contains(group) ? groups[group].configuration.name : "\(group)"
    }

    /// How long an aborted process of a group has for its backtraces.
    package func abortGrace(ofGroup group: Int) -> Duration {
        groups.indices.contains(group) ? groups[group].configuration.abortGrace : .zero
    }

    /// Whether a process is judged by its signs of life: a slot's worker that is ready. One that starts has the
    /// start-up time-out, one that stops the stop's.
    package func isJudged(_ birth: Int) -> Bool {
        processes[birth]?.phase == .ready
    }

    /// Whether the end has come to the point where workers are stopped: the shutdown delay is over.
    package var isStoppingWorkers: Bool {
        switch stage {
        case .waiting, .running, .delaying: false
        case .stopping, .halting, .finished: true
        }
    }
}

/// The processes by birth, oldest first. Births only grow, so a sorted array it is.
struct ProcessTable: Sendable {
    private(set) var all: [WorkerProcess] = []

    var isEmpty: Bool { all.isEmpty }

    /// The process of a birth. Setting it to nil takes it out; a birth that is not there cannot be set.
    subscript(birth: Int) -> WorkerProcess? {
        get { index(of: birth).map { all[$0] } }
        set {
            guard let index = index(of: birth) else { return }
            if let newValue { all[index] = newValue } else { all.remove(at: index) }
        }
    }

    mutating func append(_ process: WorkerProcess) {
        all.append(process)
    }

    mutating func remove(_ birth: Int) -> WorkerProcess? {
        index(of: birth).map { all.remove(at: $0) }
    }

    private func index(of birth: Int) -> Int? {
        var range = all.startIndex..<all.endIndex
        while !range.isEmpty {
            let middle = range.lowerBound + range.count / 2
            if all[middle].birth == birth { return middle }
            range = all[middle].birth < birth ? middle + 1..<range.upperBound : range.lowerBound..<middle
        }
        return nil
    }
}

/// A process of ours that has not been reaped.
struct WorkerProcess: Hashable, Sendable {
    let birth: Int
    var role: WorkerRole
    var phase = ProcessPhase.starting
    /// Whether it is there; until then it has only been asked for.
    var isSpawned = false
    /// When it was made, or took its slot.
    var startedAt: MonotonicInstant
    /// When it got ready, or was parked.
    var upSince: MonotonicInstant?
    /// Whether it may have read its settings before they were changed.
    var needsReset = false

    /// Since when it has served.
    var readySince: MonotonicInstant? {
        switch role {
        case .current, .successor, .former: upSince
        case .spare: nil
        }
    }
}

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

/// A launched service's workers.
struct WorkerGroup: Sendable {
    var configuration: WorkerGroupConfiguration
    /// How many workers there shall be: the slots from 0 on.
    var asked: Int
    /// All slots there have ever been, so that their counts go on.
    var slots: [WorkerSlot]
    var spareBackoff = RestartBackoffState()
    var window = RestartWindow()
    var hasBeenReady = false

    init(_ configuration: WorkerGroupConfiguration) {
        self.configuration = configuration
        asked = max(0, configuration.workers)
        slots = Array(repeating: WorkerSlot(), count: asked)
    }

    /// Whether no slot wants a process any more.
    var isFinished: Bool {
        slots[..<asked].allSatisfy { $0.occupant == .finished } && configuration.policy == .onFailure
    }

    /// Whether a slot is finished.
    var hasFinishedSlot: Bool {
        slots[..<asked].contains { $0.occupant == .finished }
    }
}

/// A rolling reload under way.
struct RollingReload: Hashable, Sendable {
    /// What is waited for.
    enum Step: Hashable, Sendable {
        /// Nothing: the next slot is looked for.
        case next
        /// A new process has to get ready: the successor of a slot's process, or already the slot's own.
        case starting(Int)
        /// An old process has to be gone, so that there is never more than one too many.
        case draining(Int)
    }

    /// The birth from which on processes are young enough.
    let youngest: Int
    var step = Step.next
}

/// That a slot's process ended and another one takes its place.
package struct SlotRestart: Hashable, Sendable {
    /// Why the former process ended.
    package var reason: DeathReason
    /// When it did.
    package var at: MonotonicInstant
}

/// What is known, and gathered, while one event is handled.
struct SupervisorTurn {
    let now: MonotonicInstant
    var actions: [SupervisorAction] = []

    mutating func notice(_ notice: SupervisorNotice) {
        actions.append(.notice(notice))
    }
}
