// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "muster status", .enabled(if: MusterCommandLine.isBuilt, "build the command line first: make muster"),
    .timeLimit(.minutes(2)))
struct StatusCommandTests {
    // MARK: A real service

    @Test(
        "shows a running service, as a table and as JSON", .enabled(if: Demo.isBuilt, "build the demo first: make demo")
    )
    func table() async throws {
        let demo = try await Demo(backend: nil, options: ["--workers", "2", "--loops", "2"])
        let run = try await MusterCommandLine.run("status", demo.ready.endpoint)
        #expect(run.status == 0, "\(run)")
        #expect(run.errors == "")
        #expect(run.output.hasPrefix("store  ready  supervisor, pid \(demo.ready.pid), up "))
        #expect(run.output.contains("\nWorkers  2 of 2 ready\n"))
        #expect(run.output.contains(/\n +0 +\d+  ready  cooperative +/))
        #expect(run.output.contains("\nLooping calls\n"))
        #expect(run.output.contains("\nHealth checks\n"))

        let named = try await MusterCommandLine.run(
            "status", environment: ["MUSTER_URL": demo.ready.endpoint, "COLUMNS": "60"])
        #expect(named.status == 0)
        #expect(named.output.split(separator: "\n").allSatisfy { $0.count <= 60 })

        let json = try await MusterCommandLine.run("status", "--json", demo.ready.endpoint)
        #expect(json.status == 0)
        #expect(json.output.split(separator: "\n").count == 1)
        let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
        #expect((object?["workers"] as? [Any])?.count == 2)
    }

    @Test("is asked at a Unix socket", .enabled(if: Demo.isBuilt, "build the demo first: make demo"))
    func unixSocket() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path("socket")
        let demo = try await Demo(backend: "threading", options: ["--endpoint", "unix:\(path)"])
        let run = try await MusterCommandLine.run("status", "unix:\(path)")
        #expect(run.status == 0, "\(run)")
        #expect(run.output.hasPrefix("store  ready  one process, pid \(demo.ready.pid), up "))
        #expect(run.output.contains("backend: threading (chosen by the application's hook)"))
    }

    @Test(
        "redraws in place on a terminal, tells of a worker that was killed, and gives the screen back at Ctrl-C",
        .enabled(if: Demo.isBuilt && find("script") != nil, "build the demo first: make demo"))
    func watch() async throws {
        let demo = try await Demo(backend: nil, options: ["--workers", "2"])
        let terminal = try PseudoTerminal(
            "status --watch --interval 200ms \(demo.ready.endpoint)", columns: 100, rows: 50)
        try await terminal.wait(for: "the first table") { $0.contains("2 of 2 ready") }
        let victim = try #require(demo.workers.first).pid
        kill(victim, SIGKILL)
        try await terminal.wait(for: "the change") { $0.contains("was replaced (signal): pid \(victim) is now ") }
        try await terminal.interrupt()
        #expect(try await terminal.status() == 0)
        let output = terminal.output
        #expect(output.contains("\u{1B}[?1049h\u{1B}[?25l\u{1B}[H"))
        #expect(output.trimmingCharacters(in: .whitespacesAndNewlines).hasSuffix("\u{1B}[?25h\u{1B}[?1049l"))
        // Colours, as it is a terminal that has them.
        #expect(output.contains("\u{1B}[32mready\u{1B}[0m"))
        // Each frame begins in the corner, where the one before ended somewhere.
        let drawn = output.replacing("\u{1B}[H", with: "\n").replacing(/\u{1B}\[[0-9;?]*[a-zA-Z]/, with: "")
        #expect(drawn.split(whereSeparator: \.isNewline).allSatisfy { $0.count <= 100 })
    }

    @Test("says when a service is not ready, or hangs", .enabled(if: Demo.isBuilt, "build the demo first: make demo"))
    func unwell() async throws {
        let demo = try await Demo(backend: nil, options: ["--liveness-limit", "500ms", "--interval", "100ms"])
        // One process that hangs is not replaced. Who asks must not keep the demo: it would outlive the test.
        let url = demo.ready.http
        let hang = Task { _ = try? await HTTPAnswer.get(url + "/block?seconds=60") }
        defer { hang.cancel() }
        let run = try await eventually("the hang") {
            let run = try await MusterCommandLine.run("status", demo.ready.endpoint)
            return run.status == 0 ? nil : run
        }
        #expect(run.status == 1, "\(run)")
        #expect(run.output.contains("live: fail"))
    }

    // MARK: Pipes

    private static let document = #"""
        {"at":1800000000,"backends":[],"groups":[],"health":{"checks":[],"live":"pass","ready":"READY","startup":"pass"},
        "history":{"at":[],"latenessP99Seconds":[],"readyWorkers":[],"restarts":[],"threads":[]},"isReloading":false,
        "loops":[],"mode":"process","name":"mailer","omitted":{"loops":0,"workers":0},"process":{"pid":42},
        "schemaVersion":1,"state":"ready","version":{"muster":"0.3.0"},"workers":[]}
        """#

    private func server(ready: String = "pass") throws -> CannedServer {
        try CannedServer(status: "200 OK", body: Self.document.replacing("READY", with: ready))
    }

    @Test("has an exit code for a service that is not ready")
    func notReady() async throws {
        for (ready, status) in [("pass", Int32(0)), ("fail", 1)] {
            let server = try server(ready: ready)
            let run = try await MusterCommandLine.run("status", server.url)
            #expect(run.status == status)
            #expect(run.output.contains("ready: \(ready)"))
            #expect(server.requests.count == 1)
        }
    }

    @Test("watches in a pipe page by page, and as JSON line by line")
    func pages() async throws {
        let server = try server()
        let pages = try await MusterCommandLine.run(
            "status", "--watch", "--interval", "100ms", "--count", "3", server.url)
        #expect(pages.status == 0)
        #expect(pages.output.matches(of: /(?:^|\n\n)\d\d:\d\d:\d\d\nmailer  ready  one process, pid 42/).count == 3)
        #expect(!pages.output.contains("\u{1B}"))
        let lines = try await MusterCommandLine.run(
            "status", "--watch", "--json", "--interval", "100ms", "--count", "2", server.url)
        #expect(lines.output.split(separator: "\n").count == 2)
        #expect(server.requests.count == 5)
    }

    @Test("sends the user's name and password, and nothing without them")
    func password() async throws {
        let server = try server()
        let folder = try TemporaryFolder()
        let file = try folder.write("se:cr\u{E9}t\nnot this\n", to: "password")
        _ = try await MusterCommandLine.run("status", "--user", "ops", "--password-file", file, server.url)
        _ = try await MusterCommandLine.run(
            "status", "--user", "ops", server.url, environment: ["MUSTER_PASSWORD": "x"])
        _ = try await MusterCommandLine.run("status", server.url, environment: ["MUSTER_PASSWORD": "x"])
        let expected = ["ops:se:cr\u{E9}t", "ops:x"].map {
            "Authorization: Basic \(Data($0.utf8).base64EncodedString())\r\n"
        }
        #expect(server.requests[0].contains(expected[0]))
        #expect(server.requests[1].contains(expected[1]))
        #expect(!server.requests[2].contains("Authorization"))
        #expect(server.requests[0].hasPrefix("GET /status HTTP/1.1\r\n"))
    }

    // MARK: Failures

    @Test("tells why there is no status, and what to do")
    func failures() async throws {
        let port = try freePort()
        let cases: [(server: CannedServer?, url: String?, message: String)] = [
            (nil, "http://127.0.0.1:\(port)", "connection refused; is the program running"),
            (nil, "unix:/nonexistent/socket", "no such socket; is the program running"),
            (nil, "http://name.invalid:9917", "the host's name has no address"),
            (try CannedServer(status: "401 Unauthorized", body: "who are you?\n"), nil, "use --user"),
            (try CannedServer(status: "404 Not Found", body: ""), nil, "it has no status"),
            (
                try CannedServer(status: "200 OK", body: "<html>"), nil,
                "the answer is not a status report: not valid JSON"
            ),
            (try CannedServer("SSH-2.0-OpenSSH_9.2\r\n"), nil, "speaks no HTTP"),
            (try CannedServer("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), nil, "ended before the answer"),
        ]
        for (server, url, message) in cases {
            let url = try #require(url ?? server?.url)
            let run = try await MusterCommandLine.run("status", url)
            #expect(run.status == 2, "\(run)")
            #expect(run.output == "")
            #expect(run.errors.hasPrefix("muster: \(url): "), "\(run)")
            #expect(run.errors.contains(message), "\(run)")
            #expect(run.errors.split(separator: "\n").count == 1)
            if let server { #expect(server.requests.count == 1) }
        }
    }

    @Test("waits no longer than it was told to")
    func timeout() async throws {
        let server = try CannedServer(nil)
        let run = try await MusterCommandLine.run("status", "--timeout", "200ms", server.url)
        #expect(run.status == 2)
        #expect(
            run.errors
                == "muster: \(server.url): no answer within 200 ms; is the machine overloaded, or a firewall in between? --timeout gives it longer\n"
        )
    }

    @Test("ends at once when it is told to during a question", arguments: [SIGINT, SIGTERM])
    func interruption(signal: Int32) async throws {
        let server = try CannedServer(nil)
        let program = try MusterCommandLine.start(["status", "--watch", "--timeout", "1h", server.url])
        _ = try await eventually("the question") { server.requests.isEmpty ? nil : true }
        kill(program.pid, signal)
        #expect(try await program.status(within: 30) == 2)
    }

    @Test(
        "fails when its output cannot be written", .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
        arguments: [">/dev/full", ">&-"])
    func unwritable(redirection: String) async throws {
        let demo = try await Demo(backend: nil, options: [])
        let url = demo.ready.endpoint
        let binary = try #require(MusterCommandLine.binary)
        for arguments in [
            "status \(url)", "status --json \(url)", "status --watch --count 3 --interval 100ms \(url)", "check",
            "check --json", "--help", "status --help", "--version", "--generate-completion-script bash",
        ] {
            let program = try Program("/bin/bash", ["-c", "'\(binary)' \(arguments) \(redirection)"])
            #expect(try await program.status() == 2, "\(arguments)")
            #expect(program.errors.contains("cannot write to standard output"), "\(arguments)")
        }
    }

    @Test(
        "asks what is on this machine without a proxy, and names the proxy that it has asked otherwise",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"))
    func proxies() async throws {
        let demo = try await Demo(backend: nil, options: [])
        let proxy = try CannedServer(nil)
        for variable in ["http_proxy", "all_proxy", "ALL_PROXY"] {
            let run = try await MusterCommandLine.run(
                "status", demo.ready.endpoint, "--user", "ops",
                environment: [variable: proxy.url, "MUSTER_PASSWORD": "secret"])
            #expect(run.status == 0, "\(run)")
            let failure = try await MusterCommandLine.run(
                "status", "mailer.invalid:9917", "--timeout", "200ms",
                environment: [variable: proxy.url.replacing("://", with: "://me:secret@")])
            #expect(failure.status == 2)
            #expect(failure.errors.contains("(by the proxy \(proxy.url), which \(variable) names)"), "\(failure)")
            #expect(!failure.errors.contains("secret"))
            let excepted = try await MusterCommandLine.run(
                "status", "mailer.invalid:9917", environment: [variable: proxy.url, "NO_PROXY": ".invalid"])
            #expect(excepted.status == 2)
            #expect(!excepted.errors.contains("proxy"), "\(excepted)")
        }
        #expect(proxy.requests.count == 3)
        #expect(!proxy.requests.contains { $0.contains("/status") && $0.contains("127.0.0.1") })
    }

    @Test(
        "refuses a command line that makes no sense",
        arguments: [
            (["--interval", "1ms"], "'--interval' must be 100ms or more"), (["--count", "1"], "'--count' requires"),
            (["--key", "a"], "'--key' requires '--cert'"), (["--user", "a"], "'--user' requires '--password-file'"),
            (["ftp://a"], "'ftp' is not a supported protocol"), (["--timeout", "0"], "'--timeout' must be"),
            (["http://a:b@c"], "a password in the URL is seen by everybody"), (["--nonsense"], "Unknown option"),
        ])
    func usage(arguments: [String], message: String) async throws {
        let program = try MusterCommandLine.start(["status"] + arguments)
        #expect(try await program.status() == 64)
        #expect(program.errors.contains(message))
    }
}
