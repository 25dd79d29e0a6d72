// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestKit
import MusterTestSupport
import Testing

@Suite("A log that takes nothing", .transcript, .timeLimit(.minutes(10)))
struct LogTests {
    /// Runs the program with standard error going where a shell sends it.
    private static func wrapper(_ redirection: String) -> [String] {
        ["/bin/bash", "-c", "\(redirection); exec \"$@\" 2>\"$LOG\"", "bash"]
    }

    /// A pipe that somebody holds open and that nobody reads.
    private static let unread = wrapper("mkfifo \"$LOG\"; exec 9<>\"$LOG\"")

    private func temporaryLog() throws -> (folder: TemporaryFolder, environment: [String: String]) {
        let folder = try TemporaryFolder()
        return (folder, ["LOG": folder.path("log")])
    }

    /// Has reports written until there is no room.
    private func fill(_ program: TestProgram) async throws {
        _ = try await eventually("lines that find no room") {
            for _ in 0..<200 { program.signal(SIGUSR2) }
            return try await program.metrics().sum("muster_log_lines_dropped_total") > 0 ? true : nil
        }
    }

    @Test("Lines of the application say which worker they are of, at the level that was chosen while it ran")
    func levels() async throws {
        let arguments = ["--workers=1", "--quiet", "--log-level=app=debug"]
        try await TestProgram.run(arguments) { program in
            try await program.ready()
            func logged(_ text: String) async throws -> String {
                try await eventually("a line with \(text)") {
                    try await program.command("log \(text)")
                    return program.log(text).first
                }
            }
            let first = try await logged("first")
            for word in [" debug ", "app", "worker=0", "worker_group=test", "own=1"] { #expect(first.contains(word)) }
            // The next one is told, too.
            kill(try await program.started(1)[0].pid, SIGKILL)
            try await program.said("started", 2)
            #expect(try await logged("second").contains("worker=0"))
        }
    }

    @Test("stops neither supervision nor answers nor the end", arguments: backends)
    func fullPipe(backend: String) async throws {
        let (folder, environment) = try temporaryLog()
        defer { withExtendedLifetime(folder) {} }
        try await TestProgram.run(
            ["--workers=2"], backend: backend, environment: environment, wrapper: Self.unread
        ) { program in
            try await program.ready()
            let workers = try await program.started(2)
            try await fill(program)
            kill(workers[0].pid, SIGKILL)
            try await program.said("started", 3)
            try await program.metric("muster_worker_restarts_total", ["reason": "signal"], is: 1)
            #expect(try await program.get("/livez").status == 200)
            #expect(try await program.get("/readyz").status == 200)
            program.signal(SIGHUP)
            try await program.metric("muster_reloads_total", ["outcome": "completed"], is: 1)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    @Test("and what is missing is told once the log is read")
    func readAgain() async throws {
        let (folder, environment) = try temporaryLog()
        try await TestProgram.run(["--workers=1"], environment: environment, wrapper: Self.unread) { program in
            try await program.ready()
            try await fill(program)
            let reader = try Program("/bin/cat", [folder.path("log")])
            defer { reader.end() }
            try await reader.waitForOutput(containing: "log messages dropped")
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    @Test("whose reader goes ends nothing, and programs that are started keep SIGPIPE", arguments: backends)
    func closedPipe(backend: String) async throws {
        let wrapper = ["/bin/bash", "-c", "exec \"$@\" 2> >(head -n 1 >/dev/null)", "bash"]
        try await TestProgram.run(["--workers=2"], backend: backend, wrapper: wrapper) { program in
            try await program.ready()
            let workers = try await program.started(2)
            _ = try await eventually("lines that cannot be written") {
                program.signal(SIGUSR2)
                return try await program.metrics().sum("muster_log_lines_dropped_total") > 0 ? true : nil
            }
            kill(workers[0].pid, SIGKILL)
            try await program.said("started", 3)
            let ignored = try await program.command("shell grep SigIgn /proc/self/status")
            let mask = try #require(
                ignored.split(whereSeparator: \.isWhitespace).last.flatMap { UInt64($0, radix: 16) })
            #expect(mask & (1 << (SIGPIPE - 1) | 1 << (SIGXFSZ - 1)) == 0)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    @Test("for its file is as large as it may be", arguments: backends)
    func fileSizeLimit(backend: String) async throws {
        let (folder, environment) = try temporaryLog()
        defer { withExtendedLifetime(folder) {} }
        // In units of 1024 bytes: room for the arenas, and little left of it in the log.
        let command = "ulimit -f 8192; head -c 8380000 /dev/zero >\"$LOG\"; exec \"$@\" 2>>\"$LOG\""
        try await TestProgram.run(
            ["--workers=2"], backend: backend, environment: environment,
            wrapper: ["/bin/bash", "-c", command, "bash"]
        ) { program in
            try await program.ready()
            let workers = try await program.started(2)
            try await fill(program)
            kill(workers[1].pid, SIGKILL)
            try await program.said("started", 3)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    @Test("in one process", arguments: backends)
    func oneProcess(backend: String) async throws {
        let (folder, environment) = try temporaryLog()
        defer { withExtendedLifetime(folder) {} }
        try await TestProgram.run(
            ["--in-process"], backend: backend, environment: environment, wrapper: Self.unread
        ) { program in
            try await program.ready()
            _ = try await eventually("lines that find no room") {
                for _ in 0..<50 { program.signal(SIGHUP) }
                return try await program.metrics().sum("muster_log_lines_dropped_total") > 0 ? true : nil
            }
            #expect(try await program.get("/livez").status == 200)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    @Test("is named as the cause when it hangs a worker", arguments: backends)
    func blockedWorker(backend: String) async throws {
        // The workers' standard output, which their services write to themselves, is a pipe that is not read.
        let folder = try TemporaryFolder()
        let wrapper = ["/bin/bash", "-c", "mkfifo \"$OUT\"; exec 9<>\"$OUT\"; exec \"$@\" >\"$OUT\"", "bash"]
        try await TestProgram.run(
            ["--workers=1", "--loop", "--muster-liveness-limit=500ms"], backend: backend,
            environment: ["OUT": folder.path("out")], wrapper: wrapper
        ) { program in
            try await program.logged("worker ready")
            // On the cooperative backend one writer holds the hub; on the other, each job that the loop waits for.
            for _ in 0..<2 { _ = try program.submit("chatter") }
            let line = try await program.logged("worker hung")[0]
            #expect(line.contains("a reader of its standard output"))
            try await program.logged("restarting worker")
        }
    }

    @Test("malformed messages of a worker are told of now and then", arguments: backends)
    func malformed(backend: String) async throws {
        try await TestProgram.run(["--workers=1"], backend: backend) { program in
            try await program.ready()
            try await program.command("flood-channel 20000")
            try await program.logged("unknown control message")
            // It still does its work.
            #expect(try await program.get("/livez").status == 200)
            #expect(program.log("unknown control message").count < 10)
        }
    }
}
