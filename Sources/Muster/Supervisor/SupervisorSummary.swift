// SPDX-License-Identifier: Apache-2.0

import MusterSupervision

/// The supervisor's picture of its workers as lines for people (SIGUSR2).
struct SupervisorSummary {
    let lines: [String]

    init(_ report: SupervisorReport) {
        var lines: [String] = []
        for group in report.snapshot.groups {
            let ready = group.slots.count { $0.state == .ready }
            let name = group.configuration.name
            lines.append("\(name): \(ready) of \(group.workers) workers ready, \(group.sparesParked) warm spares")
            for slot in group.slots {
                var line = "\(name)/\(slot.worker.slot): \(slot.state)"
                if let birth = slot.birth, let process = report.processes[birth] {
                    line += ", pid \(process.pid)\(process.stoppedSince != nil ? " (stopped)" : "")"
                }
                line += ", started \(slot.starts) times"
                let restarts = DeathReason.allCases.filter { slot.restartsByReason[$0] > 0 }
                    .map { "\($0.rawValue) \(slot.restartsByReason[$0])" }
                if !restarts.isEmpty { line += ", restarts: \(restarts.joined(separator: ", "))" }
                lines.append(line)
            }
        }
        self.lines = lines
    }
}
