// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestKit
import MusterTestSupport
import Testing

@Suite("The number of workers", .transcript, .timeLimit(.minutes(10)))
struct ScalingTests {
    @Test("SIGTTIN adds one, SIGTTOU takes the last one away, and one always stays", arguments: backends)
    func upAndDown(backend: String) async throws {
        try await TestProgram.run(["--workers=1"], backend: backend) { program in
            let first = try await program.started(1)[0]
            program.signal(SIGTTIN)
            #expect(try await program.said("started", 2)[1].worker == "test/1")
            program.signal(SIGTTIN)
            #expect(try await program.said("started", 3)[2].worker == "test/2")
            try await program.metric("muster_workers", ["state": "ready"], is: 3)
            program.signal(SIGTTOU)
            #expect(try await program.said("stopped", 1)[0].worker == "test/2")
            program.signal(SIGTTOU)
            #expect(try await program.said("stopped", 2)[1].worker == "test/1")
            program.signal(SIGTTOU)
            try await program.metric("muster_signals_total", ["signal": "SIGTTOU"], is: 3)
            try await program.metric("muster_signals_total", ["signal": "SIGTTIN"], is: 2)
            try await program.metric("muster_workers", ["state": "ready"], is: 1)
            try await program.metric("muster_worker_restarts_total", is: 0)
            #expect(try await program.command("who") == "test/0 \(first.pid)")
            #expect(try await program.get("/readyz").status == 200)
        }
    }

    @Test("whatever comes at once, the last number holds", arguments: backends)
    func storm(backend: String) async throws {
        try await TestProgram.run(["--workers=3"], backend: backend) { program in
            try await program.ready()
            var taken = 0.0
            // One at a time of each kind: what is pending already is not counted again by the system.
            for round in 1...6 {
                program.signal(SIGTTIN)
                program.signal(SIGTTOU)
                if round % 2 == 0 { program.signal(SIGTTIN) }
                taken += round % 2 == 0 ? 2 : 1
                try await program.metric("muster_signals_total", ["signal": "SIGTTOU"], is: Double(round))
                if try await program.metrics().sum("muster_signals_total", ["signal": "SIGTTIN"]) != MetricValue(taken)
                {
                    // Two were taken for one.
                    taken -= 1
                }
            }
            let expected = 3 + taken - 6
            try await program.metric("muster_workers", ["state": "ready"], is: expected)
            try await program.metric("muster_workers", is: expected)
            try await program.metric("muster_worker_restarts_total", is: 0)
        }
    }

    @Test("a worker that is wanted again while it drains has a new process beside the old one", arguments: backends)
    func draining(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            let old = try await program.started(2)[1]
            var connections: [Connection] = []
            while program.lines("sleeping", by: "test/1").isEmpty {
                connections.append(try program.submit("sleep 4000"))
                try await program.said("sleeping", connections.count)
            }
            program.signal(SIGTTOU)
            try await program.said("stopping", by: "test/1")
            program.signal(SIGTTIN)
            let new = try await program.said("started", 2, by: "test/1")[1]
            #expect(new.pid != old.pid)
            #expect(program.lines("stopped").isEmpty)
            #expect(try await program.said("stopped").map(\.pid) == [old.pid])
            try await program.metric("muster_workers", ["state": "ready"], is: 2)
            try await program.metric("muster_workers", is: 2)
            try await program.metric("muster_worker_restarts_total", is: 0)
            withExtendedLifetime(connections) {}
        }
    }

    @Test("SIGUSR2 writes a report", arguments: backends)
    func report(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            try await program.ready()
            let workers = try await program.started(2)
            program.signal(SIGUSR2)
            try await program.logged("state: test: 2 of 2 workers ready")
            for worker in workers {
                try await program.logged("state: \(worker.worker): ready, pid \(worker.pid)")
            }
            try await program.metric("muster_signals_total", ["signal": "SIGUSR2"], is: 1)
        }
    }
}
