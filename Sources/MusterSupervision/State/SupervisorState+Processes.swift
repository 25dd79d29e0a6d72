// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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
