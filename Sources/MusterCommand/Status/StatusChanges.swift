// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint

/// What has changed between two looks, in words.
enum StatusChanges {
    static func between(_ before: StatusReport, _ after: StatusReport) -> [String] {
        if before.process.pid != after.process.pid {
            return ["\(after.name) was started anew: pid \(before.process.pid) is now \(after.process.pid)"]
        }
        var changes: [String] = []
        if before.state != after.state {
            changes.append("\(after.name): \(before.state.rawValue), now \(after.state.rawValue)")
        }
        if before.isReloading != after.isReloading {
            changes.append(after.isReloading ? "a reload has begun" : "the reload has ended")
        }
        return changes + workers(before, after) + checks(before, after)
    }

    private struct Slot: Hashable {
        let group: String
        let number: Int
    }

    private static func workers(_ before: StatusReport, _ after: StatusReport) -> [String] {
        let former = Dictionary(before.workers.map { (Slot(group: $0.group, number: $0.slot), $0) }) { first, _ in first
        }
        var changes: [String] = []
        for worker in after.workers {
            let name = "\(worker.group)/\(worker.slot)"
            guard let old = former[Slot(group: worker.group, number: worker.slot)] else {
                changes.append("worker \(name) is new")
                continue
            }
            let restarts = worker.restartCount - old.restartCount
            if restarts > 0 {
                let pids = [old.process?.pid, worker.process?.pid].map { $0.map { "\($0)" } ?? "none" }
                let often = restarts > 1 ? " \(restarts) times, last" : ""
                let reason = worker.lastRestartReason ?? "?"
                changes.append(
                    "worker \(name) was replaced\(often) (\(reason)): pid \(pids[0]) is now \(pids[1])")
            } else if old.state != worker.state {
                changes.append("worker \(name): \(old.state.rawValue), now \(worker.state.rawValue)")
            }
        }
        let current = Set(after.workers.map { Slot(group: $0.group, number: $0.slot) })
        for worker in before.workers where !current.contains(Slot(group: worker.group, number: worker.slot)) {
            changes.append("worker \(worker.group)/\(worker.slot) is gone")
        }
        return changes
    }

    private static func checks(_ before: StatusReport, _ after: StatusReport) -> [String] {
        let former = Dictionary(before.health.checks.map { ($0.name, $0.state) }) { first, _ in first }
        return after.health.checks.compactMap { check in
            guard let old = former[check.name], old != check.state else { return nil }
            let reason = check.reason.map { ": \($0)" } ?? ""
            return "check \(check.name): \(old.rawValue), now \(check.state.rawValue)\(reason)"
        }
    }
}
