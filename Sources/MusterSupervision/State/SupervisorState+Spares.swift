// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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
