// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Other ways to run", .transcript, .timeLimit(.minutes(10)))
struct LauncherTests {
    @Test("in one process: the same service without workers", arguments: backends)
    func inProcess(backend: String) async throws {
        try await TestProgram.run(["--in-process"], backend: backend) { program in
            try await program.ready()
            #expect(try await program.said("started")[0].pid == program.pid)
            #expect(program.processes == [program.pid])
            program.signal(SIGHUP)
            #expect(try await program.said("started", 2)[1].pid == program.pid)
            #expect(try await program.command("who") == "test/- \(program.pid)")
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            #expect(program.lines("stopped").count == 2)
        }
    }

    @Test("an asynchronous main supervises, and is a worker, as a synchronous one", arguments: backends)
    func asynchronous(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--asynchronous", "--spares=1"], backend: backend) { program in
            try await program.ready()
            let old = try await program.started(2)
            kill(old[0].pid, SIGKILL)
            try await program.said("started", 3)
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            #expect(try await program.get("/readyz").status == 200)
            let who = try await program.command("who")
            #expect(try await program.started(5).map { "\($0.worker) \($0.pid)" }.contains(who))
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            try await program.gone(within: .seconds(20))
        }
    }

    @Test("with an asynchronous main, workers go with their supervisor", arguments: backends)
    func asynchronousOrphans(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--asynchronous"], backend: backend) { program in
            try await program.ready()
            program.signal(SIGKILL)
            try await program.said("stopped", 2)
            try await program.gone(within: .seconds(20))
        }
    }

    @Test("with an asynchronous main, a blocked loop is found")
    func asynchronousHang() async throws {
        let options = ["--workers=2", "--asynchronous", "--muster-liveness-limit=4s", "--muster-abort-grace=60s"]
        try await TestProgram.run(options, backend: "cooperative") { program in
            try await program.ready()
            let connection = try program.submit("block")
            let pid = try await program.said("blocking")[0].pid
            try await program.said("started", 3)
            try await program.logged("worker exited", "pid=\(pid)", "reason=heartbeat")
            withExtendedLifetime(connection) {}
        }
    }
}
