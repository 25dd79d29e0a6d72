// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("The diagnostics console", .transcript, .timeLimit(.minutes(10)))
struct ConsoleTests {
    /// A reply: the lines before the last one without their space, and the last one.
    private struct Reply {
        var lines: [String]
        var end: String

        /// The cells of a column.
        func column(_ index: Int) -> [String] {
            lines.dropFirst().map {
                $0.split(separator: "  ", omittingEmptySubsequences: true).map {
                    $0.trimmingCharacters(in: .whitespaces)
                }[index]
            }
        }
    }

    private func console(_ path: String, _ line: String) async throws -> Reply {
        let text = try await onThread {
            let connection = try Connection(path: path)
            try connection.send("\(line)\nquit\n")
            return String(decoding: try connection.receiveAll(), as: UTF8.self)
        }
        var lines = text.split(separator: "\n").map(String.init)
        #expect(lines.popLast() == "ok", "\(text)")
        let end = lines.popLast() ?? ""
        return Reply(lines: lines.map { String($0.dropFirst()) }, end: end)
    }

    private func place(of program: TestProgram) -> String { program.folder.path("trigger.console") }

    private let option = "--muster-console=TRIGGER.console"

    /// Runs the program as a client of its own console.
    private func control(_ place: String, _ words: String...) async throws -> (
        status: Int32, output: String, errors: String
    ) {
        let client = try Program(TestProgram.binary, ["ctl", "--muster-console", place] + words)
        return (try await client.status(), client.output, client.errors)
    }

    @Test("a supervisor's shows its workers and what they do", arguments: backends)
    func shows(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--loop", option], backend: backend) { program in
            try await program.ready()
            let pids = try await program.started(2).map { "\($0.pid)" }
            let path = place(of: program)
            let workers = try await console(path, "workers")
            #expect(workers.end == "ok")
            #expect(workers.column(0) == ["test/0", "test/1"])
            #expect(workers.column(1) == ["ready", "ready"])
            #expect(workers.column(2) == pids)
            #expect(try await console(path, "workers test/1").column(0) == ["test/1"])
            #expect(try await console(path, "workers x").end == "failed: there is no worker or group 'x'")
            #expect(try await console(path, "groups").column(1) == ["2"])
            let jobs = try await eventually("jobs that wait") {
                let jobs = try await console(path, "jobs")
                return jobs.lines.contains { $0.contains("accept") && $0.contains("await") } ? jobs : nil
            }
            #expect(jobs.end == "ok")
            #expect(Set(jobs.column(0)) == ["test/0", "test/1"])
            #expect(Set(try await console(path, "jobs test/1").column(0)) == ["test/1"])
            #expect(try await console(path, "loops").column(1) == ["loop"])
            #expect(try await console(path, "pools test/0").column(1).contains("group test"))
            #expect(try await console(path, "health").end.hasPrefix("ok: live pass, ready pass"))
            #expect(try await console(path, "metrics muster_build").lines.count == 3)
            let settings = try await console(path, "settings console")
            #expect(settings.lines.last?.hasSuffix("arguments") == true)
            let json = try await console(path, "jobs test/0 --json")
            #expect(json.end.hasPrefix("{\"rows\":[{\"ageSeconds\":"))
            #expect(program.log("console command").isEmpty)
            #expect(try await console(path, "scale test x").end.hasPrefix("usage: "))
        }
    }

    @Test("a supervisor's acts, tells the log for whom, and lasts as long as the program", arguments: backends)
    func acts(backend: String) async throws {
        try await TestProgram.run(["--workers=1", option], backend: backend) { program in
            try await program.ready()
            let path = place(of: program)
            #expect(try await console(path, "scale test 2").end == "ok: scaling test to 2 workers")
            try await program.started(2)
            try await program.logged(
                "console command", "command=scale test 2", "peer_uid=\(geteuid())", "peer_pid=\(getpid())")
            try await program.metric("muster_workers", ["state": "ready"], is: 2)
            #expect(try await console(path, "replace test/1").end == "ok: replacing test/1")
            try await program.said("started", 2, by: "test/1")
            try await program.logged("worker exited", "reason=requested")
            try await program.metric("muster_workers", ["state": "ready"], is: 2)
            let refusal = "failed: there is no worker 'test'; a worker is named as GROUP/SLOT"
            #expect(try await console(path, "replace test").end == refusal)
            #expect(try await console(path, "replace test/2").end.hasPrefix("failed: there is no worker 'test/2'"))
            #expect(try await console(path, "scale test/0 2").end == "failed: there is no group 'test/0'")
            let levels = try await console(path, "log-level muster.launcher trace")
            #expect(levels.end == "ok")
            #expect(Set(levels.column(0)) == ["supervisor", "test/0", "test/1"])
            #expect(levels.column(1).allSatisfy { $0 == "muster.launcher" })
            #expect(levels.column(2).allSatisfy { $0 == "trace" })
            #expect(try await console(path, "log-level muster.launcher loud").end.hasPrefix("usage: "))
            #expect(try await console(path, "log-level muster.launcher default").column(2).allSatisfy { $0 == "debug" })
            #expect(try await control(path, "reload").output == "reloading\n")
            try await program.logged("reload completed")
            let workers = try await control(path, "workers")
            #expect(workers.status == 0)
            #expect(workers.output.split(separator: "\n").count == 3)
            #expect(try await control(path, "--json", "groups").output.hasPrefix("{\"rows\":[{"))
            #expect(try await control(path, "workers", "x").status == 1)
            #expect(try await control(path, "scale").status == 64)
            #expect(try await control(path, "stop").status == 0)
            #expect(try await program.status() == 0)
            #expect(access(path, F_OK) != 0)
            let gone = try await control(path, "workers")
            #expect(gone.status == 2)
            #expect(gone.errors.contains("no console at \(path)"))
        }
    }

    @Test("workers that hang or die cost the others and the console nothing")
    func troubles() async throws {
        let options = ["--workers=2", "--muster-liveness-limit=60s", option]
        try await TestProgram.run(options, backend: "cooperative") { program in
            try await program.ready()
            let path = place(of: program)
            let pids = try await program.started(2).map(\.pid)
            kill(pids[0], SIGSTOP)
            let jobs = try await console(path, "jobs")
            #expect(jobs.end == "timeout: test/0: no answer within 2 s")
            #expect(Set(jobs.column(0)) == ["test/1"])
            #expect(try await console(path, "workers").column(0) == ["test/0", "test/1"])
            #expect(try await console(path, "metrics muster_worker").end == "ok")
            // All at once, of which the worker gets some.
            try await withThrowingTaskGroup(of: String.self) { group in
                for _ in 0..<6 { group.addTask { try await console(path, "jobs test/0").end } }
                for try await end in group { #expect(end.hasPrefix("timeout: test/0: no answer")) }
            }
            #expect(try await console(path, "jobs test/0").end == "timeout: test/0: no answer to 2 earlier requests")
            #expect(try await console(path, "jobs test/1").end == "ok")
            kill(pids[0], SIGKILL)
            try await program.said("started", 3)
            _ = try await eventually("an answer of the new worker") {
                try await console(path, "jobs test/0").end == "ok" ? true : nil
            }
        }
    }

    @Test("a worker that is killed while it is asked is told of at once", arguments: backends)
    func killed(backend: String) async throws {
        try await TestProgram.run(["--workers=1", option], backend: backend) { program in
            try await program.ready()
            let path = place(of: program)
            let pid = try await program.started(1)[0].pid
            kill(pid, SIGSTOP)
            let connection = try Connection(path: path)
            try connection.send("jobs\nquit\n")
            // It comes after the other one.
            #expect(try await console(path, "groups").end == "ok")
            kill(pid, SIGKILL)
            let reply = try await onThread { String(decoding: try connection.receiveAll(), as: UTF8.self) }
            let end = "failed: test/0: no answer: the worker has ended, or has no thread or descriptor left"
            #expect(reply == "\(end)\nok\n")
        }
    }

    @Test("in one process it answers also when every job hangs", arguments: backends)
    func oneProcess(backend: String) async throws {
        try await TestProgram.run(["--in-process", "--loop", option], backend: backend) { program in
            try await program.ready()
            let path = place(of: program)
            #expect(try await console(path, "workers").column(0) == ["test/0"])
            #expect(try await console(path, "scale test 2").end == "failed: this process has no workers")
            #expect(try await console(path, "health").end.contains("ready pass"))
            let connection = try program.submit("block")
            try await program.said("blocking")
            _ = try await eventually("a job that does not await") {
                let jobs = try await console(path, "jobs")
                #expect(jobs.end == "ok")
                return jobs.lines.contains { $0.contains("command") && !$0.hasSuffix("  await") } ? true : nil
            }
            #expect(try await console(path, "loops test").column(1) == ["loop"])
            withExtendedLifetime(connection) {}
        }
    }

    @Test("in one process it reloads and stops", arguments: backends)
    func oneProcessActs(backend: String) async throws {
        try await TestProgram.run(["--in-process", option], backend: backend) { program in
            try await program.ready()
            let path = place(of: program)
            #expect(try await console(path, "reload").end == "ok: reloading")
            try await program.said("started", 2)
            #expect(try await control(path, "stop").output == "stopping\n")
            #expect(try await program.status() == 0)
            #expect(access(path, F_OK) != 0)
        }
    }

    @Test("with {slot} each worker has one of its own, also after a reload", arguments: backends)
    func slots(backend: String) async throws {
        try await TestProgram.run(
            ["--workers=2", "--muster-console=TRIGGER.{slot}"], backend: backend
        ) { program in
            try await program.ready()
            let (main, own) = (program.folder.path("trigger.main"), program.folder.path("trigger.test-1"))
            let first = try await program.started(2)[1].pid
            #expect(try await console(own, "workers").column(0) == ["test/1"])
            #expect(try await console(own, "workers").column(2) == ["\(first)"])
            #expect(try await console(own, "jobs").column(0).contains("test/1"))
            #expect(try await console(main, "reload").end == "ok: reloading")
            try await program.logged("reload completed")
            let second = try await program.started(4)[1].pid
            #expect(second != first)
            #expect(try await console(own, "workers").column(2) == ["\(second)"])
            #expect(program.log("diagnostics console unavailable").isEmpty)
        }
    }

    @Test("a worker keeps its own when a reload is aborted", arguments: backends)
    func abortedReload(backend: String) async throws {
        let options = ["--workers=1", "--start=fail@TRIGGER", "--muster-console=TRIGGER.{slot}"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            let own = program.folder.path("trigger.test-0")
            let pid = try await program.started(1)[0].pid
            #expect(try await console(own, "workers").column(2) == ["\(pid)"])
            try program.pullTrigger()
            program.signal(SIGHUP)
            try await program.logged("reload aborted")
            #expect(try await console(own, "workers").column(2) == ["\(pid)"])
        }
    }

    @Test("a place that is taken keeps the program from starting, and tells the remedy")
    func taken() async throws {
        try await TestProgram.run(["--workers=1", option]) { program in
            try await program.ready()
            let other = try Program(
                TestProgram.binary,
                [
                    "--muster-endpoint-address=off", "--muster-console=\(place(of: program))",
                    "--mark=\(program.folder.url.path)",
                ])
            #expect(try await other.status() == 1)
            #expect(other.errors.contains("a running process listens there already"))
            #expect(other.errors.contains("MUSTER_CONSOLE"))
            #expect(try await console(place(of: program), "groups").end == "ok")
        }
    }
}
