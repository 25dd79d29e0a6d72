// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import Testing

@testable import MusterCommand

@Suite("What has changed between two looks")
struct StatusChangesTests {
    private let before = StatusReport.sample()

    private func changes(_ change: (inout StatusReport) -> Void) -> [String] {
        var after = before
        change(&after)
        return StatusChanges.between(before, after)
    }

    @Test("is nothing when only figures have")
    func nothing() {
        let changes = changes { report in
            report.at += 2
            report.workers[0].cpuCores = 1
            report.loops[0].runs += 2
        }
        #expect(changes == [])
    }

    @Test("is a worker that was replaced, and why")
    func replaced() {
        let once = changes { report in
            report.workers[0].restarts = ["oom": 1]
            report.workers[0].lastRestartReason = "oom"
            report.workers[0].process?.pid = 6000
        }
        #expect(once == ["worker store/0 was replaced (oom): pid 4714 is now 6000"])
        let often = changes { report in
            report.workers[2].restarts["signal"] = 4
            report.workers[2].process = nil
            report.workers[2].state = .backoff
        }
        #expect(often == ["worker store/2 was replaced 2 times, last (signal): pid 5012 is now none"])
    }

    @Test("is a state, of the service, a worker or a check")
    func states() {
        let changes = changes { report in
            report.state = .unready
            report.workers[3].state = .hung
            report.health.checks[1].state = .fail
            report.health.checks[1].reason = "full"
            report.isReloading = true
        }
        #expect(
            changes == [
                "store: degraded, now unready", "a reload has begun", "worker store/3: ready, now hung",
                "check disk: warn, now fail: full",
            ])
    }

    @Test("is a worker more, or one less")
    func scaled() {
        #expect(changes { $0.workers.removeLast() } == ["worker store/3 is gone"])
        #expect(
            changes { $0.workers.append(WorkerStatus(group: "store", slot: 4, state: .starting)) } == [
                "worker store/4 is new"
            ])
    }

    @Test("is the whole program started anew, and nothing else then")
    func startedAnew() {
        let changes = changes { report in
            report.process.pid = 9
            report.workers = []
        }
        #expect(changes == ["store was started anew: pid 4711 is now 9"])
    }
}
