// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterTestKit
import MusterTestSupport
import Testing

@Suite("The harness for supervised programs", .timeLimit(.minutes(10)))
struct HarnessTests {
    private let options = ["--workers=2", "--end-with-input"]

    @Test("kills, hangs and rolls a program, and reads its endpoint and its log")
    func example() async throws {
        try await SupervisedProgram.run(TestProgram.binary, options + ["--muster-liveness-limit=3s"]) { program in
            try await program.ready()
            let workers = try await program.workers()
            #expect(workers.map(\.name) == ["test/0", "test/1"] && workers.allSatisfy { $0.state == "ready" })
            workers[0].send(.kill)
            try await program.logged("worker exited", "signal=SIGKILL")
            try await program.metric("muster_worker_restarts_total", ["reason": "signal"], is: 1)
            workers[1].send(.stop)
            try await program.logged("worker exited", "reason=heartbeat")
            try await program.until("two other workers", { try await program.workers() }) { now in
                now.allSatisfy { $0.state == "ready" } && Set(now.map(\.pid)).isDisjoint(with: workers.map(\.pid))
            }
            try await program.until("readiness", { try await program.get("/readyz") }) { $0.status == 200 }
            let before = try await program.workers()
            try await program.reload()
            try await program.until("their successors", { try await program.workers() }) { now in
                Set(now.map(\.pid)).isDisjoint(with: before.map(\.pid))
            }
            #expect(try await program.metrics().sum("muster_worker_up") == 2)
            #expect(program.lines("reload completed").count == 1)
            program.send(.terminate)
            #expect(try await program.exitStatus() == 0)
        }
    }

    @Test("keeps nothing open of a program that is over")
    func ended() async throws {
        weak var ended: Program?
        func run() async throws {
            let program = try Program("/bin/echo", ["done"])
            #expect(try await program.status() == 0)
            #expect(program.output == "done\n")
            ended = program
        }
        try await run()
        // The threads that read its pipes end.
        while ended != nil { await Task.yield() }
    }

    @Test("says of a wait in vain what was seen last, and takes an address of the program's own")
    func inVain() async throws {
        try await SupervisedProgram.run(
            TestProgram.binary, ["--workers=1", "--end-with-input"],
            environment: ["MUSTER_ENDPOINT_ADDRESS": "127.0.0.1:0"], within: .seconds(10)
        ) { program in
            try await program.ready()
            #expect(try await program.get("/livez").status == 200)
            #expect(try await program.get("/nothing").status == 404)
        }
        try await SupervisedProgram.run(
            TestProgram.binary, ["--workers=1", "--end-with-input", "--start=fail"], within: .milliseconds(500)
        ) { program in
            try await program.program.waitForErrors(containing: "told to fail")
            let error = await #expect(throws: (any Error).self) {
                try await program.metric("muster_workers", ["state": "ready"], is: 1)
            }
            let text = error.map { "\($0)" } ?? ""
            #expect(text.contains(#"waited in vain for muster_workers["state": "ready"] 1.0; seen last: "#))
            #expect(text.contains("told to fail"))
        }
    }
}
