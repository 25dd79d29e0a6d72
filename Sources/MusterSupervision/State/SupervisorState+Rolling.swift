// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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
