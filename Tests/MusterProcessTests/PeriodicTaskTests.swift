// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Periodic tasks over workers", .transcript, .timeLimit(.minutes(10)))
struct PeriodicTaskTests {
    /// The worker that says so, by its slot and its process.
    private static func runner(_ line: TestProgram.Line) -> String { "\(line.worker) \(line.pid)" }

    @Test("One worker runs them; when it ends in a run, another one does it again and goes on", arguments: backends)
    func moves(backend: String) async throws {
        try await TestProgram.run(["--workers=3", "--periodic=hang"], backend: backend) { program in
            try await program.ready()
            try await program.started(3)
            let first = try await program.said("task-began")[0]
            kill(first.pid, SIGKILL)
            let second = try await program.said("task-began", 2)[1]
            #expect(second.pid != first.pid)
            // The one that was in a run three times is not begun again.
            kill(second.pid, SIGKILL)
            let third = try await program.said("task-began", 3)[2]
            kill(third.pid, SIGKILL)
            try await program.metric("muster_worker_restarts_total", ["reason": "signal"], is: 3)
            _ = try await eventually("the lease in a fourth process") {
                program.lines("lease-held").contains { ![first.pid, second.pid, third.pid].contains($0.pid) }
                    ? true : nil
            }
            #expect(program.lines("task-began").count == 3)
        }
    }

    @Test("A hung worker loses them when it is replaced, and a rolling restart hands them on")
    func hang() async throws {
        let arguments = ["--workers=2", "--periodic=count", "--muster-liveness-limit=1s"]
        try await TestProgram.run(arguments, backend: "threading") { program in
            try await program.ready()
            let first = try await program.said("task-ran", 3)
            #expect(Set(first.map(Self.runner)).count == 1)
            kill(first[0].pid, SIGSTOP)
            let after = try await eventually("a run in another worker") {
                program.lines("task-ran").last { $0.pid != first[0].pid }
            }
            program.signal(SIGHUP)
            try await program.metric("muster_reloads_total", ["outcome": "completed"], is: 1)
            _ = try await eventually("a run in a new worker") {
                program.lines("task-ran").last { $0.pid != first[0].pid && $0.pid != after.pid }
            }
        }
    }
}
