// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestKit
import MusterTestSupport
import Testing

@Suite("Workers", .transcript, .timeLimit(.minutes(10)))
struct WorkerTests {
    @Test("as many start as were asked for, and serve", arguments: backends)
    func start(backend: String) async throws {
        try await TestProgram.run(["--workers=3"], backend: backend) { program in
            try await program.ready()
            let workers = try await program.started(3)
            #expect(workers.map(\.worker) == ["test/0", "test/1", "test/2"])
            #expect(Set(workers.map(\.pid)).count == 3)
            #expect(workers.allSatisfy { $0.rest == backend })
            #expect(!workers.map(\.pid).contains(program.pid))
            let who = try await program.command("who")
            #expect(workers.map { "\($0.worker) \($0.pid)" }.contains(who))
            #expect(try await program.get("/readyz").status == 200)
            #expect(try await program.get("/livez").status == 200)
            let samples = try await program.metrics()
            #expect(samples.sum("muster_worker_up") == 3)
            #expect(samples.sum("muster_workers", ["state": "ready", "worker_group": "test"]) == 3)
            #expect(samples.sum("muster_worker_starts_total") == 3)
            #expect(samples.sum("muster_worker_restarts_total") == 0)
        }
    }

    @Test("one that ends is replaced, and why is counted and logged", arguments: backends, WorkerEnd.all)
    func end(backend: String, end: WorkerEnd) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            try await program.ready()
            let before = try await program.started(2)
            try await end.happen(to: program, pid: before[0].pid)
            let new = try await program.said("started", 3)[2]
            #expect(!before.map(\.pid).contains(new.pid))
            let old = try #require(before.first { $0.worker == new.worker })
            try await program.logged("worker exited", "pid=\(old.pid)", "reason=\(end.reason)", end.logged)
            let slot = new.worker.dropFirst("test/".count)
            try await program.metric("muster_worker_restarts_total", is: 1)
            try await program.metric(
                "muster_worker_restarts_total", ["worker": "\(slot)", "reason": end.reason], is: 1)
            try await program.metric("muster_worker_starts_total", ["worker": "\(slot)"], is: 2)
            try await program.metric("muster_worker_up", is: 2)
            // The other one has noticed nothing.
            let other = try #require(before.first { $0.worker != new.worker })
            #expect(program.processes.contains(other.pid))
            #expect(program.lines("started", by: other.worker).count == 1)
            #expect(program.log("trapOnPurpose").isEmpty == (end.description != "a trap"))
        }
    }

    @Test("one that is told to stop does so gracefully before it is replaced", arguments: backends)
    func graceful(backend: String) async throws {
        try await TestProgram.run(["--workers=1"], backend: backend) { program in
            let old = try await program.started(1)[0]
            async let answer = program.command("sleep 300")
            try await program.said("sleeping")
            kill(old.pid, SIGTERM)
            #expect(try await answer == "test/0 \(old.pid)")
            #expect(try await program.said("stopped")[0].pid == old.pid)
            try await program.said("started", 2)
        }
    }

    @Test("one keeps its process over SIGHUP, which restarts its service in place", arguments: backends)
    func hangUp(backend: String) async throws {
        try await TestProgram.run(["--workers=1"], backend: backend) { program in
            try await program.ready()
            let worker = try await program.started(1)[0]
            kill(worker.pid, SIGHUP)
            #expect(try await program.said("started", 2)[1].pid == worker.pid)
            #expect(program.lines("stopped").map(\.pid) == [worker.pid])
            #expect(try await program.command("who") == "test/0 \(worker.pid)")
            try await program.metric("muster_worker_starts_total", is: 1)
        }
    }

    @Test("application totals and process figures go on over the generations", arguments: backends)
    func totals(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            try await program.ready()
            for _ in 0..<8 { try await program.command("who") }
            try await program.metric("test_commands_total", is: 8)
            let cpu = try await program.metrics().sum("muster_worker_cpu_seconds_total")
            for worker in try await program.started(2) { kill(worker.pid, SIGKILL) }
            try await program.started(4)
            try await program.metric("test_commands_total", is: 8)
            for _ in 0..<4 { try await program.command("who") }
            try await program.metric("test_commands_total", is: 12)
            try await program.metric("test_generation", is: 2)
            let samples = try await program.metrics()
            #expect(samples.sum("muster_worker_cpu_seconds_total") >= cpu)
            #expect(samples.sum("muster_worker_scrape_success") == 2)
            for name in ["threads", "resident_memory_bytes", "open_fds", "start_time_seconds"] {
                #expect(samples.filter { $0.name == "muster_worker_\(name)" && $0.value > 0 }.count == 2)
            }
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            try await program.metric("test_commands_total", is: 12)
        }
    }

    @Test("one that damages its metrics loses them alone, and the next starts afresh", arguments: backends)
    func damage(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            try await program.ready()
            let vandal = try await program.command("scribble")
            let words = vandal.split(separator: " ")
            let slot = String(words[0].dropFirst("test/".count))
            try await program.metric("muster_worker_scrape_success", ["worker": slot], is: 0)
            try await program.metric("muster_worker_scrape_success", is: 1)
            try await program.metric("muster_worker_up", is: 2)
            kill(try #require(Int32(words[1])), SIGKILL)
            try await program.said("started", 3)
            try await program.metric("muster_worker_scrape_success", is: 2)
            try await program.metric("test_generation", is: 2)
        }
    }
}
