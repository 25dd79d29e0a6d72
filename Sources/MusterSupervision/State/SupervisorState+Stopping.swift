// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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
