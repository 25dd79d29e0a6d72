// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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
