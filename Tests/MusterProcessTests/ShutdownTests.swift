// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("The end of a supervised program", .transcript, .timeLimit(.minutes(10)))
struct ShutdownTests {
    @Test("SIGTERM: what is under way is finished, and the status is 0", arguments: backends)
    func graceful(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--spares=1"], backend: backend) { program in
            try await program.ready()
            async let answer = program.command("sleep 500")
            let busy = try await program.said("sleeping")[0]
            program.signal(SIGTERM)
            #expect(try await answer == "\(busy.worker) \(busy.pid)")
            #expect(try await program.status() == 0)
            #expect(program.lines("stopped").count == 2)
            try await program.gone(within: .seconds(20))
            #expect(!FileManager.default.fileExists(atPath: program.socketPath))
        }
    }

    @Test("SIGTERM: nothing new is accepted from then on", arguments: backends)
    func closed(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            try await program.ready()
            let connection = try program.submit("sleep 60000")
            try await program.said("sleeping")
            program.signal(SIGTERM)
            try await program.said("stopping", 2)
            #expect(throws: (any Error).self) { try program.submit("who") }
            #expect(program.isRunning)
            withExtendedLifetime(connection) {}
        }
    }

    @Test("SIGTERM while ten workers start ends cleanly", arguments: backends)
    func early(backend: String) async throws {
        try await TestProgram.run(["--workers=10"], backend: backend) { program in
            try await program.logged("worker started")
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            try await program.gone(within: .seconds(20))
        }
    }

    @Test("SIGTERM at any moment leaves nothing behind", arguments: [0, 5, 10, 20, 40, 80])
    func anytime(milliseconds: Int) async throws {
        try await TestProgram.run(["--workers=4"]) { program in
            try await Task.sleep(for: .milliseconds(milliseconds))
            program.signal(SIGTERM)
            // The program may not have come to handling signals yet.
            #expect([0, 128 + SIGTERM].contains(try await program.status()))
            try await program.gone(within: .seconds(20))
        }
    }

    @Test("a second SIGTERM ends everything at once with status 1", arguments: backends)
    func twice(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--stop=hang"], backend: backend) { program in
            try await program.ready()
            program.signal(SIGTERM)
            try await program.said("stopping", 2)
            program.signal(SIGTERM)
            #expect(try await program.status() == 1)
            try await program.gone(within: .seconds(20))
        }
    }

    @Test("SIGINT ends everything at once with status 1, whoever is connected", arguments: backends)
    func interrupt(backend: String) async throws {
        try await TestProgram.run(["--workers=3"], backend: backend) { program in
            try await program.ready()
            async let answer = program.command("sleep 3600000")
            try await program.said("sleeping")
            program.signal(SIGINT)
            #expect(try await program.status() == 1)
            #expect(try await answer == "")
            #expect(program.lines("stopped").isEmpty)
            try await program.gone(within: .seconds(20))
        }
    }

    @Test("a service that never stops is killed when the time is up, not before", arguments: backends)
    func timeout(backend: String) async throws {
        let options = ["--workers=2", "--stop=hang", "--muster-graceful-shutdown-timeout=1s"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            let begin = ContinuousClock.now
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            #expect(begin.duration(to: .now) >= .seconds(1))
            #expect(program.lines("stopping").count == 2)
            try await program.gone(within: .seconds(20))
        }
    }

    @Test("a worker whose loop is blocked is killed when the time is up")
    func blocked() async throws {
        let options = ["--workers=2", "--muster-graceful-shutdown-timeout=1s"]
        try await TestProgram.run(options, backend: "cooperative") { program in
            try await program.ready()
            let connection = try program.submit("block")
            let pid = try await program.said("blocking")[0].pid
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            #expect(!program.log("stop timeout exceeded; killing worker", "pid=\(pid)").isEmpty)
            #expect(program.log("stop timeout exceeded; killing worker").count == 1)
            withExtendedLifetime(connection) {}
        }
    }

    @Test("during the shutdown delay it serves on, alive and no longer ready", arguments: backends)
    func delay(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--muster-shutdown-delay=3s"], backend: backend) { program in
            try await program.ready()
            let begin = ContinuousClock.now
            program.signal(SIGTERM)
            try await program.logged("stopping workers")
            let readiness = try await program.get("/readyz?verbose")
            #expect(readiness.status == 503)
            #expect(readiness.body.contains("shutdown has begun"))
            #expect(try await program.get("/livez").status == 200)
            #expect(try await !program.command("who").isEmpty)
            #expect(try await program.status() == 0)
            #expect(begin.duration(to: .now) >= .seconds(3))
            #expect(program.lines("stopped").count == 2)
        }
    }

    @Test("a second SIGTERM ends the shutdown delay, and everything else")
    func impatient() async throws {
        try await TestProgram.run(["--workers=2", "--muster-shutdown-delay=1h"]) { program in
            try await program.ready()
            program.signal(SIGTERM)
            try await program.logged("stopping workers")
            program.signal(SIGTERM)
            #expect(try await program.status() == 1)
        }
    }

    @Test("workers that die in the shutdown delay are replaced, and serve until its end", arguments: backends)
    func deathsInTheDelay(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--muster-shutdown-delay=5s"], backend: backend) { program in
            try await program.ready()
            let workers = try await program.started(2)
            program.signal(SIGTERM)
            try await program.logged("stopping workers")
            for worker in workers { kill(worker.pid, SIGKILL) }
            try await program.said("started", 4)
            for _ in 0..<8 { #expect(try await program.command("who").contains("test/")) }
            #expect(try await program.status() == 0)
        }
    }
}
