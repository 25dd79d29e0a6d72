// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "muster console", .enabled(if: MusterCommandLine.isBuilt && Demo.isBuilt, "build both first: make muster demo"),
    .timeLimit(.minutes(2)))
struct ConsoleCommandTests {
    private static let prompt = "muster> "

    /// What has been written behind the last of some texts.
    private static func isThere(_ text: String, behind others: String..., in output: String) -> Bool {
        var rest = output[...]
        for other in others {
            guard let range = rest.range(of: other) else { return false }
            rest = rest[range.upperBound...]
        }
        return rest.contains(text)
    }

    @Test("completes, remembers, and is interrupted on a terminal", .enabled(if: find("script") != nil))
    func terminal() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path("console.sock")
        let demo = try await Demo(backend: nil, options: ["--workers", "2"], environment: ["MUSTER_CONSOLE": path])
        let state = ["XDG_STATE_HOME": folder.path("state")]
        let terminal = try PseudoTerminal("console \(path)", columns: 50, rows: 40, environment: state)
        try await terminal.wait(for: "the prompt") { $0.plain.contains(Self.prompt) }
        terminal.press("work\t")
        try await terminal.wait(for: "the completed command") { $0.plain.contains("workers ") }
        terminal.press("store/\t")
        try await terminal.wait(for: "the workers there are") { $0.plain.contains("store/0  store/1") }
        terminal.press("1\n")
        let pid = try #require(demo.workers.last).pid
        try await terminal.wait(for: "one worker") {
            Self.isThere(Self.prompt, behind: "store/0  store/1", "\(pid)", in: $0.plain)
        }
        #expect(terminal.output.plain.components(separatedBy: "store/0").count == 2)
        // A line that is given up is not sent, and a command that takes long is not waited for.
        terminal.press("stop\u{3}")
        try await terminal.wait(for: "the end of the line") {
            Self.isThere(Self.prompt, behind: "stop", "^C", in: $0.plain)
        }
        terminal.press("profile 60 store\n")
        try await terminal.wait(for: "the command") { $0.plain.contains("profile 60 store\r\n") }
        // Before it waits for the reply, its terminal may still be in the mode for editing.
        _ = try await eventually("the end of the waiting") {
            terminal.press("\u{3}")
            return terminal.output.plain.contains("muster: interrupted") ? true : nil
        }
        terminal.press("\u{3}groups\n")
        try await terminal.wait(for: "another connection") {
            Self.isThere("store ", behind: "interrupted", in: $0.plain)
        }
        // The candidates fit, also when the window has changed.
        terminal.press("\t")
        try await terminal.wait(for: "the commands") {
            Self.isThere("workers", behind: "interrupted", "health", in: $0.plain)
        }
        try await terminal.resize(columns: 30)
        terminal.press("\t")
        try await terminal.wait(for: "two columns") { $0.plain.contains(/commands +profile/) }
        terminal.press("\u{15}quit\n")
        #expect(try await terminal.status() == 0)
        let lines = terminal.output.plain.split(whereSeparator: \.isNewline).filter { $0.contains("health") }
        #expect(!lines.isEmpty && lines.allSatisfy { $0.count <= 50 })

        let again = try PseudoTerminal("console \(path)", columns: 100, rows: 40, environment: state)
        try await again.wait(for: "the prompt") { $0.plain.contains(Self.prompt) }
        again.press("\u{1B}[A\u{1B}[A")
        try await again.wait(for: "the line before the last") { $0.plain.contains("groups") }
        again.press("\n")
        try await again.wait(for: "its answer") { Self.isThere(Self.prompt, behind: "WANTED", in: $0.plain) }
        // The program goes away, and says so; nobody has to start the client anew when it is back.
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
        again.press("groups\n")
        try await again.wait(for: "the loss") { $0.plain.contains("muster: the console has closed the connection") }
        again.press("groups\n")
        try await again.wait(for: "the reason") {
            $0.plain.contains("muster: no console at \(path): is the program running")
        }
        again.press("\u{4}")
        #expect(try await again.status() == 0)
        let mode = try FileManager.default.attributesOfItem(
            atPath: folder.path("state") + "/muster/console-history")[.posixPermissions]
        #expect(mode as? Int == 0o600)
    }

    @Test("takes commands from a pipe and from options, without a prompt, and says how they ended")
    func pipes() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path("console.sock")
        let demo = try await Demo(
            backend: "threading", options: ["--workers", "1", "--loops", "1"], environment: ["MUSTER_CONSOLE": path])
        let input = Pipe()
        input.fileHandleForWriting.write(Data("# a comment\n\ngroups\nworkers nobody\nquit\ngroups\n".utf8))
        try input.fileHandleForWriting.close()
        let piped = try MusterCommandLine.start(["console", path], input: input.fileHandleForReading)
        #expect(try await piped.status() == 1)
        #expect(piped.output.hasPrefix("GROUP ") && piped.output.components(separatedBy: "GROUP ").count == 2)
        #expect(piped.errors == "muster: there is no worker or group 'nobody'\n")

        let place = ["MUSTER_CONSOLE": path]
        let options = try await MusterCommandLine.run(
            "console", "--json", "-c", "threads store/0", "-c", "threads supervisor", environment: place)
        #expect(options.status == 0 && options.errors.isEmpty, "\(options)")
        let replies = try options.output.split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        #expect(replies.count == 2)
        let threads = try #require(replies.first?["rows"] as? [[String: Any]])
        let files = ProcessFiles(pid: try #require(demo.workers.first).pid)
        #expect(threads.contains { $0["thread"] as? Int == Int(files.pid) })
        #expect(threads.contains { ($0["stack"] as? String)?.contains("EventLoop.run") == true })
        #expect((replies.last?["rows"] as? [[String: Any]])?.isEmpty == false)

        let profile = try await MusterCommandLine.run("ctl", "profile", "0.2", "store/0", environment: place)
        #expect(profile.status == 0, "\(profile)")
        // Beside stacks, it goes to standard error.
        #expect((profile.output + profile.errors).contains(/store\/0: \d+ samples? in 200 ms at 99 Hz of CPU time\n/))
        let wrong = try await MusterCommandLine.run("ctl", "profile", "x", environment: place)
        #expect(wrong.status == 64)
        #expect(wrong.errors == "muster ctl: profile SECONDS [TARGET]: SECONDS is a number from 0.1 to 300\n")
        let stop = try await MusterCommandLine.run("ctl", "stop", environment: place)
        #expect(stop.status == 0)
        #expect(try await demo.status() == 0)
    }

    @Test("says what is wrong when there is no console, a stalled one, or something else")
    func failures() async throws {
        let stalled = try CannedServer(nil)
        let foreign = try CannedServer("HTTP/1.1 400 Bad Request\r\n\r\n")
        for (arguments, status, error) in [
            (["console", "/nowhere/console.sock", "-c", "groups"], 2, "no console at /nowhere/console.sock: is the"),
            (["console", "\(stalled.port)", "--timeout", "100ms", "-c", "groups"], 2, "no reply in time"),
            (["console", "\(foreign.port)", "-c", "groups"], 2, "what answers there is not a console"),
            (["console", "-c", "groups"], 2, "no console is configured"),
            (["console", "x:y", "-c", "groups"], 64, "muster.console"),
            (["console", "\(stalled.port)", "-c", "groups\nstop"], 64, "a command is one line"),
        ] as [([String], Int32, String)] {
            let program = try MusterCommandLine.start(arguments)
            #expect(try await program.status() == status, "\(arguments)")
            #expect(program.errors.hasPrefix("muster: ") && program.errors.contains(error), "\(program.errors)")
            #expect(program.errors.split(separator: "\n").count == 1 && program.output.isEmpty)
        }
    }
}

extension String {
    /// Without the sequences by which a program moves a terminal's cursor.
    fileprivate var plain: String { replacing(/\r?\u{1B}\[[0-9;?]*[A-Za-z]/, with: "") }
}
