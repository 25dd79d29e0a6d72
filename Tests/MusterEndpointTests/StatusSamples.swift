// SPDX-License-Identifier: Apache-2.0

@testable import MusterEndpoint
@testable import MusterHealth

/// Statuses for tests.
enum StatusSamples {
    static let now = 1_800_000_000.0

    /// A report that has something of everything.
    static func report(workers: Int = 2, loops: Int = 1, name: String = "store") -> StatusReport {
        var process = ProcessStatus(pid: 41)
        process.startedAt = now - 7200
        process.uptimeSeconds = 7200
        var report = StatusReport(
            at: now, name: name, mode: .supervisor, version: VersionStatus(muster: "0.1.0", swift: "6.3"),
            process: process)
        report.backends = [BackendStatus(name: "threading", source: "hook", workers: workers)]
        report.groups = [WorkerGroupStatus(name: name, wantedWorkers: workers, readyWorkers: workers)]
        report.workers = (0..<workers).map { slot in
            var worker = WorkerStatus(group: name, slot: slot, state: .ready)
            worker.process = ProcessStatus(pid: Int32(100 + slot))
            worker.process?.threads = 5
            worker.process?.cpuSeconds = 1
            worker.backend = "threading"
            return worker
        }
        report.loops = (0..<loops).map { index in
            var loop = LoopStatus(group: name, name: "loop-\(index)", backend: "threading")
            loop.latenessP99Seconds = 0.0015
            loop.nextRunAt = now + 3
            return loop
        }
        return report
    }
}
