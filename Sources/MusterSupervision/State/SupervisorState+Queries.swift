// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

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
