// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Warm spares", .transcript, .timeLimit(.minutes(10)))
struct WarmSpareTests {
    /// Waits until the spares are there besides the supervisor and the workers.
    private func spares(_ count: Int = 1, of program: TestProgram, besides workers: [Int32]) async throws -> Set<Int32>
    {
        try await program.metric("muster_workers", ["state": "spare"], is: Double(count))
        return try await eventually("\(count) spares") {
            let spares = Set(program.processes).subtracting(
                workers + [program.pid] + [program.forkServer].compactMap { $0 })
            return spares.count == count && program.log("warm spare ready").count >= count ? spares : nil
        }
    }

    @Test("a spare takes over where a worker dies, and is no worker before", arguments: backends)
    func takeOver(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--spares=1"], backend: backend) { program in
            try await program.ready()
            let workers = try await program.started(2)
            let spare = try await spares(of: program, besides: workers.map(\.pid))
            try await program.metric("muster_worker_up", is: 2)
            try await program.metric("muster_workers", ["state": "ready"], is: 2)
            kill(workers[1].pid, SIGKILL)
            let new = try await program.said("started", 3)[2]
            #expect(new.worker == "test/1")
            #expect(spare == [new.pid])
            #expect(new.rest == backend)
            let next = try await spares(of: program, besides: [workers[0].pid, new.pid])
            #expect(next.isDisjoint(with: spare))
            try await program.metric("muster_worker_restarts_total", ["reason": "signal", "worker": "1"], is: 1)
            try await program.metric("muster_worker_restarts_total", is: 1)
            try await program.metric("muster_worker_up", is: 2)
            // Its metrics are the slot's from now on.
            try await program.metric("test_generation", is: 2)
            try await program.metric("muster_worker_scrape_success", is: 2)
        }
    }

    @Test("totals go on when spares take over, again and again", arguments: backends)
    func totals(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--spares=1"], backend: backend) { program in
            try await program.ready()
            for round in 1...4 {
                for _ in 0..<3 { try await program.command("who") }
                try await program.metric("test_commands_total", is: Double(3 * round))
                let worker = try await program.started(round)[0]
                _ = try await spares(of: program, besides: [worker.pid])
                kill(worker.pid, SIGKILL)
                try await program.said("started", round + 1)
                try await program.metric("test_commands_total", is: Double(3 * round))
            }
        }
    }

    @Test("a spare that dies is replaced, and no worker's restart is counted", arguments: backends)
    func death(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--spares=2"], backend: backend) { program in
            try await program.ready()
            let worker = try await program.started(1)[0].pid
            let first = try await spares(2, of: program, besides: [worker])
            for pid in first { kill(pid, SIGKILL) }
            try await program.logged("warm spare ready", count: 4)
            let second = try await spares(2, of: program, besides: [worker])
            #expect(second.isDisjoint(with: first))
            try await program.metric("muster_worker_restarts_total", is: 0)
            try await program.metric("muster_spare_exits_total", ["reason": "signal"], is: 2)
            try await program.metric("muster_spare_exits_total", is: 2)
            #expect(program.lines("started").count == 1)
        }
    }

    @Test("a spare becomes the worker that is added", arguments: backends)
    func scaled(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--spares=1"], backend: backend) { program in
            try await program.ready()
            let worker = try await program.started(1)[0].pid
            let spare = try await spares(of: program, besides: [worker])
            program.signal(SIGTTIN)
            let new = try await program.said("started", 2)[1]
            #expect(new.worker == "test/1")
            #expect(spare == [new.pid])
        }
    }

    @Test("a reload replaces spares, whose settings are old", arguments: ["reload", "mutate"])
    func reload(method: String) async throws {
        let options = ["--workers=1", "--spares=1", "--muster-restart-method=\(method)"]
        try await TestProgram.run(options) { program in
            try await program.ready()
            let worker = try await program.started(1)[0].pid
            let spare = try await spares(of: program, besides: [worker])
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            let now = method == "reload" ? try await program.said("started", 2)[1].pid : worker
            #expect(!spare.contains(now))
            try await program.logged("warm spare ready", count: 2)
            #expect(try await spares(of: program, besides: [now]).isDisjoint(with: spare))
        }
    }
}
