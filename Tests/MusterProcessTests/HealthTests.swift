// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Health of workers", .transcript, .timeLimit(.minutes(10)))
struct HealthTests {
    /// Has a number of workers fail their check.
    private func fail(_ count: Int, of program: TestProgram) async throws {
        var workers: Set<String> = []
        while workers.count < count { workers.insert(try await program.command("fail-check")) }
    }

    private func readiness(_ program: TestProgram, becomes status: Int) async throws -> String {
        try await eventually("status \(status)") {
            let answer = try await program.get("/readyz?verbose")
            return answer.status == status ? answer.body : nil
        }
    }

    @Test("a check that fails in every worker ends readiness, and says why", arguments: backends)
    func every(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--check"], backend: backend) { program in
            try await program.ready()
            _ = try await readiness(program, becomes: 200)
            try await fail(2, of: program)
            #expect(try await readiness(program, becomes: 503).contains("told to fail"))
            #expect(try await program.get("/readyz/test-check").status == 503)
            #expect(try await program.get("/livez").status == 200)
            try await program.command("pass-check")
            _ = try await readiness(program, becomes: 200)
        }
    }

    @Test("a check that fails in one worker is a warning", arguments: backends)
    func one(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--check"], backend: backend) { program in
            try await program.ready()
            _ = try await readiness(program, becomes: 200)
            let who = try await program.command("fail-check").split(separator: " ")[0]
            let text = try await eventually("a warning") {
                let answer = try await program.get("/readyz?verbose")
                return answer.body.contains("told to fail") ? answer : nil
            }
            #expect(text.status == 200)
            #expect(text.body.contains("worker \(who): told to fail"))
        }
    }

    @Test("a timer that has ended with an error is a warning, which names it", arguments: backends)
    func endedTimer(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--timer=fail"], backend: backend) { program in
            try await program.ready()
            try await program.logged("looping call failed", count: 2)
            let text = try await eventually("a warning") {
                let answer = try await program.get("/readyz?verbose")
                return answer.body.contains("(and 1 more)") ? answer : nil
            }
            #expect(text.status == 200)
            let expected = "[+]ended-looping-calls ok (warning: worker test/0: looping call 'timer' ended with an error"
            #expect(text.body.contains(expected), "\(text.body)")
            #expect(try await program.get("/readyz/ended-looping-calls").status == 200)
            let status = try await program.get("/status").body
            #expect(status.contains("looping call 'timer' ended with an error"))
            #expect(try await program.get("/").body.contains("looping call &#39;timer&#39; ended with an error"))
            // Its successor has a timer that runs, until that fails as well.
            try await program.metric("muster_worker_restarts_total", is: 0)
        }
    }

    @Test("where every worker has to be ready, one that fails is enough", arguments: backends)
    func strict(backend: String) async throws {
        let options = ["--workers=2", "--check", "--muster-ready-condition=every-worker"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            _ = try await readiness(program, becomes: 200)
            let words = try await program.command("fail-check").split(separator: " ")
            #expect(try await readiness(program, becomes: 503).contains("told to fail"))
            // Its successor has not failed yet.
            kill(try #require(Int32(words[1])), SIGKILL)
            _ = try await readiness(program, becomes: 200)
        }
    }

    @Test("liveness has its checks by name, and others are not found")
    func names() async throws {
        try await TestProgram.run(["--workers=1", "--check"]) { program in
            try await program.ready()
            for name in ["supervisor", "hung-workers"] {
                #expect(try await program.get("/livez/\(name)").status == 200)
            }
            #expect(try await program.get("/readyz/workers").status == 200)
            #expect(try await program.get("/readyz/shutdown").status == 200)
            #expect(try await program.get("/livez/nothing").status == 404)
        }
    }

    @Test("no ready worker, no readiness: alive all the same", arguments: backends)
    func nobody(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--start=hang@TRIGGER"], backend: backend) { program in
            try program.pullTrigger()
            try await program.logged("endpoint listening")
            try await program.said("starting")
            let url = try #require(
                program.log("endpoint listening")[0].split(separator: " ").first { $0.hasPrefix("url=") })
            let readiness = try await HTTPAnswer.get("\(url.dropFirst(4))/readyz?verbose")
            #expect(readiness.status == 503)
            #expect(readiness.body.contains("test has 0 of 1 workers ready"))
            #expect(try await HTTPAnswer.get("\(url.dropFirst(4))/livez").status == 200)
        }
    }

    @Test("a check of the level live that a worker has unregistered gets nobody killed", arguments: backends)
    func unregisteredLiveCheck(backend: String) async throws {
        let options = ["--workers=1", "--live-check", "--muster-liveness-limit=3s"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            let who = try await program.command("unregister-live")
            // Its only report counts for 0.5 s: with the check still there it would be a hang after 3.5 s.
            try await program.command("sleep 5000")
            #expect(try await program.command("who") == who)
            #expect(program.log("terminating hung worker").isEmpty)
        }
    }

    @Test(
        "a check that fails vanishes with its registration, and is heard when it is registered again",
        arguments: backends)
    func registeredAgain(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--check"], backend: backend) { program in
            try await program.ready()
            _ = try await readiness(program, becomes: 200)
            try await program.command("fail-check")
            _ = try await readiness(program, becomes: 503)
            try await program.command("unregister-check")
            _ = try await readiness(program, becomes: 200)
            try await program.command("register-check")
            #expect(try await readiness(program, becomes: 503).contains("told to fail"))
            try await program.command("pass-check")
            _ = try await readiness(program, becomes: 200)
        }
    }

    @Test("workers are not ready until a check that is expected has been registered, and passes", arguments: backends)
    func expected(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--expect-plugins"], backend: backend) { program in
            try await program.ready()
            let body = try await readiness(program, becomes: 503)
            #expect(body.contains("plugins"))
            #expect(body.contains("test has 0 of 1 workers ready"))
            #expect(try await program.get("/livez").status == 200)
            try await program.command("register-plugins")
            _ = try await readiness(program, becomes: 200)
            try await program.command("fail-check")
            _ = try await readiness(program, becomes: 503)
        }
    }

    @Test("one reporter serves two checks", arguments: backends)
    func sharedReporter(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--check"], backend: backend) { program in
            try await program.ready()
            try await program.command("register-plugins")
            _ = try await readiness(program, becomes: 200)
            try await program.command("fail-check")
            _ = try await readiness(program, becomes: 503)
            #expect(try await program.get("/readyz/plugins").status == 503)
            #expect(try await program.get("/readyz/test-check").status == 503)
        }
    }

    @Test("probes and asynchronous checks run in the worker until they are unregistered", arguments: backends)
    func runningChecks(backend: String) async throws {
        let options = ["--workers=1", "--running-checks", "--muster-ready-condition=every-worker"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            _ = try await readiness(program, becomes: 200)
            for name in ["probe", "job"] {
                _ = try await eventually("a result of \(name)") {
                    try await program.get("/readyz/\(name)").status == 200 ? true : nil
                }
            }
            // Longer than three intervals of the asynchronous check: without new runs it would be stale.
            try await Task.sleep(for: .seconds(1))
            #expect(try await program.get("/readyz?verbose").status == 200)
            let who = try await program.command("unregister-running")
            // Their last results would be stale by then.
            try await Task.sleep(for: .seconds(1))
            #expect(try await program.get("/readyz?verbose").status == 200)
            #expect(try await program.command("who") == who)
        }
    }
}
