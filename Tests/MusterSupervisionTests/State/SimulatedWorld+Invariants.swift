// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

@testable import MusterSupervision

/// What has to hold after every step.
extension SimulatedWorld {
    mutating func require(_ condition: Bool, _ text: StaticString, _ timer: SupervisorTimer? = nil) {
        guard !condition, violation == nil else { return }
        violation = "\(text)" + (timer.map { ": \($0)" } ?? "")
    }

    mutating func check() {
        guard violation == nil, finished.isEmpty, pending.isEmpty else { return }
        checkProcesses()
        checkCounts()
        for (timer, _) in timers { checkTimer(timer) }
        require(state.timers.count == timers.count, "timers are lost")
    }

    mutating func checkProcesses() {
        var live = [Int](repeating: 0, count: configurations.count)
        var spares = live
        var stayingSpares = live
        var successors: Set<WorkerID> = []
        var rolled = 0
        var recycled = spares
        var current: [WorkerID] = []
        for process in state.processes.all {
            guard let known = processes[process.incarnation] else {
                require(false, "a process that is gone")
                continue
            }
            switch process.role {
            case .current(let worker):
                require(!current.contains(worker), "two processes in a slot")
                require(
                    state.groups[worker.group].slots[worker.slot].incarnation == process.incarnation,
                    "a slot lost its process")
                current.append(worker)
                if process.phase.isLive { live[worker.group] += 1 }
            case .successor(let worker):
                require(successors.insert(worker).inserted, "two successors of a slot")
                require(
                    state.groups[worker.group].slots[worker.slot].incarnation != nil, "a successor of an empty slot")
                rolled += process.replaces == .reload ? 1 : 0
                recycled[worker.group] += process.replaces == .recycled ? 1 : 0
            case .former(let worker):
                recycled[worker.group] += process.phase == .stopping(.recycled) ? 1 : 0
                require(known.isLeaving, "a former process was not asked to leave")
                rolled += process.phase == .stopping(.reload) ? 1 : 0
            case .spare(let group):
                spares[group] += 1
                if !known.isLeaving { stayingSpares[group] += 1 }
            }
        }
        require(rolled <= 1, "a slot is rolled before the one before is done")
        for group in configurations.indices {
            require(recycled[group] <= 1, "several are recycled at a time")
            require(live[group] <= state.groups[group].desired, "too many live")
            require(spares[group] <= mostSpares[group], "too many spares")
            require(stayingSpares[group] <= configurations[group].warmSpares, "too many spares stay")
        }
    }

    mutating func checkCounts() {
        var counted = 0
        var begun = 0
        var again = 0
        for group in state.groups {
            for slot in group.slots {
                counted += slot.deaths.total
                begun += slot.starts
                again += slot.restarts.total
            }
        }
        require(counted == exits && deaths == exits, "exits are not counted once")
        require(begun == starts, "starts are not counted once")
        require(again == restarts, "restarts are not told once")
        require(again >= countedRestarts, "restarts fell")
        // A roll's successor is counted when it takes over, before its predecessor's end.
        require(again <= counted + state.processes.all.count, "more restarts than deaths")
        countedRestarts = again
    }

    mutating func checkTimer(_ timer: SupervisorTimer) {
        switch timer {
        case .startup(let incarnation):
            require(processes[incarnation]?.isLeaving == false, "armed of what is not coming up", timer)
        case .kill(let incarnation), .abort(let incarnation):
            require(processes[incarnation]?.isLeaving == true, "armed of what is not leaving", timer)
        case .backoff(let worker):
            require(!isEnding || isDelaying, "armed after the end began", timer)
            require(state.groups[worker.group].slots[worker.slot].occupant == .backoff, "armed without back-off", timer)
        case .spareBackoff: require(!isEnding, "armed after the end began", timer)
        case .age(let incarnation):
            require(!isEnding && processes[incarnation]?.isLeaving == false, "armed of what is leaving", timer)
        case .recycle(let group):
            require(!isEnding && state.groups[group].isRecycling, "armed without anything to recycle", timer)
        case .shutdownDelay: require(state.phase == .stopping, "armed without an end", timer)
        case .halt: require(state.phase == .halting, "armed without an end at once", timer)
        case .intensity(let group):
            require(!isEnding && state.groups[group].window.isExceeded, "armed of a calm group", timer)
        }
    }
    /// Whether a worker of a group is starting.
    func isComingUp(_ group: Int) -> Bool {
        state.processes.all.contains { process in
            switch process.role {
            case .current(let worker), .successor(let worker): worker.group == group && process.phase == .starting
            case .former, .spare: false
            }
        }
    }
}

extension SupervisorState.ProcessPhase {
    /// Whether a process counts as a worker: it serves, or is about to, or is still being ended.
    fileprivate var isLive: Bool {
        switch self {
        case .starting, .ready, .aborting: true
        case .parked, .stopping, .dying: false
        }
    }
}
