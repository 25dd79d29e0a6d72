// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth

extension StatusReport {
    /// The present instant of all samples.
    static let now = 1_800_000_000.0

    /// A supervisor with four workers that do well, but one that was replaced.
    static func sample() -> StatusReport {
        var report = StatusReport(
            at: now, name: "store", mode: .supervisor, version: VersionStatus(muster: "0.3.0", swift: "6.3.1"),
            process: ProcessStatus(pid: 4711))
        report.process.uptimeSeconds = 11_520
        report.backends = [BackendStatus(name: "cooperative", source: "default", workers: 4)]
        var group = WorkerGroupStatus(name: "store", wantedWorkers: 4, readyWorkers: 4)
        group.restarts = 3
        report.groups = [group]
        report.workers = (0..<4).map { slot in
            var worker = WorkerStatus(group: "store", slot: slot, state: .ready)
            var process = ProcessStatus(pid: 4714 + Int32(slot))
            process.uptimeSeconds = 11_519.6
            process.threads = 2
            process.residentMemoryBytes = 20_300_000 + Double(slot) * 100_000
            worker.process = process
            worker.backend = "cooperative"
            worker.cpuCores = 0.0123 * Double(slot)
            worker.jobs = 6
            worker.heartbeatAgeSeconds = 0
            return worker
        }
        report.workers[2].process?.pid = 5012
        report.workers[2].process?.uptimeSeconds = 4.2
        report.workers[2].restarts = ["signal": 2, "heartbeat": 1]
        report.workers[2].lastRestartReason = "signal"
        report.workers[2].lastRestartAt = now - 4.3
        report.loops = ["expire-0", "expire-1"].map { name in
            var loop = LoopStatus(group: "store", name: name, backend: "cooperative")
            loop.workers = 4
            loop.intervalSeconds = 1
            loop.runs = 46_080
            loop.latenessP50Seconds = 0.000_071
            loop.latenessP99Seconds = 0.000_93
            loop.driftSeconds = 0
            loop.lastRunAt = now - 0.4
            loop.nextRunAt = now + 0.6
            return loop
        }
        report.loops[1].failures = 12
        report.loops[1].latenessP99Seconds = 0.25
        report.health.checks = [
            CheckStatus(name: "supervisor", levels: ["live"], state: .pass, foundAt: now),
            CheckStatus(
                name: "disk", levels: ["ready"], state: .warn, reason: "91 % of /var/lib/store is used",
                foundAt: now - 12),
        ]
        report.health.ready = .warn
        report.state = .degraded
        return report
    }
}
