// SPDX-License-Identifier: Apache-2.0

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
