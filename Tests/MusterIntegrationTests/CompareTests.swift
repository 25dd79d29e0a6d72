// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterCompare
import MusterTestSupport
import Testing

/// `muster compare run`, with real programs; `scripts/test` runs it when nothing else runs.
@Suite(.serialized, .enabled(if: MusterCommandLine.isBuilt, "build the command line first: make muster"))
struct CompareRunTests {
    private static let testProgram: String? = {
        let path = ProcessInfo.processInfo.environment["MUSTER_TEST_PROGRAM"] ?? ""
        return FileManager.default.isExecutableFile(atPath: path) ? path : nil
    }()

    private func report(_ run: MusterCommandLine.Run) throws -> Report {
        try #require(run.status == 0 || run.status == 1 || run.status == 3, "\(run.errors)")
        return try JSONDecoder().decode(Report.self, from: Data(run.output.utf8))
    }

    private func row(_ name: String, _ report: Report) throws -> Row {
        try #require(report.rows.first { $0.quantity.name == name })
    }

    private func compare(work: String, _ more: String..., variable: String = "TEST_BACKEND={}") async throws
        -> MusterCommandLine.Run
    {
        let program = try #require(Self.testProgram)
        let start = [
            "compare", "run", "--duration", "1s", "--rounds", "5", "--warm-up", "0s", "--format", "json",
            "--no-restart",
            "--set-backend", variable,
        ]
        let command = try MusterCommandLine.start(
            start + more + ["--", program, "--in-process", "--quiet", "--work=\(work)"])
        let status = try await command.status()
        return MusterCommandLine.Run(status: status, output: command.output, errors: command.errors)
    }

    @Test(
        "A handicap of one backend is found, with the right sign and within the interval",
        .enabled(if: testProgram != nil, "build muster-test-program first"),
        arguments: [("threading", 24, 1.2), ("threading", 40, 2.0), ("cooperative", 40, 0.5)])
    func handicap(slow: String, milliseconds: Int, ratio: Double) async throws {
        let other = slow == "threading" ? "cooperative" : "threading"
        let run = try await compare(
            work: "\(slow):\(milliseconds)ms,\(other):20ms", "--fail-if", "loop_run_duration_mean worse")
        let report = try report(run)
        let row = try row("loop_run_duration_mean", report)
        #expect(row.outcome == (ratio > 1 ? .worse : .better), "\(row)")
        let interval = try #require(row.ratio)
        // The program itself is exact to a hundredth.
        #expect(interval.low * 0.99 <= ratio && ratio <= interval.high * 1.01, "\(interval)")
        #expect(run.status == (ratio > 1 ? 1 : 0))
        #expect(run.errors.isEmpty, "\(run.errors)")
        #expect(report.evidence.baseline.backends == ["cooperative"])
        #expect(report.evidence.candidate.backends == ["threading"])
    }

    @Test(
        "Identical sides are alike, and the same evidence gives the same report",
        .enabled(if: testProgram != nil, "build muster-test-program first"))
    func identical() async throws {
        let run = try await compare(
            work: "cooperative:20ms", "--baseline", "cooperative", "--candidate", "cooperative")
        let report = try report(run)

        #expect(try row("loop_run_duration_mean", report).outcome == .alike)
        #expect(report.notes.contains { $0.contains("differences are chance") })
        let folder = try TemporaryFolder()
        let file = try folder.write(run.output, to: "report.json")
        #expect(try await MusterCommandLine.run("compare", "--from", file, "--format", "json").output == run.output)
        for format in ["text", "markdown", "html"] {
            let once = try await MusterCommandLine.run("compare", "--from", file, "--format", format)
            let twice = try await MusterCommandLine.run("compare", "--from", file, "--format", format)
            #expect(once.status == 0 && !once.output.isEmpty && once.output == twice.output)
        }
    }

    @Test(
        "Two values of another variable are compared",
        .enabled(if: testProgram != nil, "build muster-test-program first"))
    func variable() async throws {
        let report = try report(
            try await compare(
                work: "cooperative:20ms", "--rounds", "1", "--baseline", "1", "--candidate", "4",
                variable: "MALLOC_ARENA_MAX={}"))
        #expect(report.refusals.isEmpty, "\(report.refusals)")
        #expect(report.evidence.by == "MALLOC_ARENA_MAX")
    }

    @Test(
        "Both sides on one backend are refused, with the remedy",
        .enabled(if: testProgram != nil, "build muster-test-program first"))
    func sameBackend() async throws {
        let report = try report(
            try await compare(work: "cooperative:20ms", "--rounds", "1", variable: "ANOTHER_VARIABLE={}"))
        #expect(report.refusals.first?.reason == "both sides ran the backend cooperative")
        #expect(report.refusals.first?.remedy.contains("--set-backend") == true)
    }

    @Test(
        "A program that cannot be measured has a clear answer",
        arguments: [
            (["/no/such/program"], "there is no such program"), (["/etc/passwd"], "it may not be executed"),
            (["/bin/sh", "-c", "echo out of order; exit 3"], "with exit code 3:\n  out of order"),
            (["/bin/sleep", "60"], "no endpoint"),
        ])
    func badPrograms(program: [String], words: String) async throws {
        let command = try MusterCommandLine.start(["compare", "run", "--start-timeout", "1s", "--"] + program)
        #expect(try await command.status() == 2)
        #expect(command.errors.contains(words), "\(command.errors)")
    }

    @Test(
        "A program that never gets ready is told with its failing checks",
        .enabled(if: testProgram != nil, "build muster-test-program first"))
    func neverReady() async throws {
        let program = try #require(Self.testProgram)
        let run = try await MusterCommandLine.run(
            "compare", "run", "--start-timeout", "2s", "--", program, "--quiet", "--expect-plugins")
        #expect(run.status == 2)
        #expect(run.errors.contains("did not get ready within 2 s as cooperative"), "\(run.errors)")
        #expect(run.errors.contains("plugins"), "\(run.errors)")
    }

    @Test(
        "A program that does not say when it is ready is asked",
        .enabled(if: testProgram != nil, "build muster-test-program first"))
    func silent() async throws {
        let run = try await MusterCommandLine.run(
            "compare", "run", "--duration", "1s", "--rounds", "1", "--warm-up", "0s", "--format", "json",
            "--set-backend", "TEST_BACKEND={}", "--", "/usr/bin/env", "-u", "NOTIFY_SOCKET",
            try #require(Self.testProgram), "--quiet")
        let report = try report(run)
        for name in ["start_time", "restart_time"] {
            let row = try row(name, report)
            #expect((row.baseline ?? 0) > 0 && (row.candidate ?? 0) > 0, "\(row)")
        }
    }

    @Test(
        "Progress fits the terminal, so that it is erased",
        .enabled(if: testProgram != nil, "build muster-test-program first"),
        .enabled(if: find("script") != nil, "install script(1)"))
    func progress() async throws {
        let program = try #require(Self.testProgram)
        let terminal = try PseudoTerminal(
            """
            compare run --duration 1s --rounds 1 --warm-up 0s --no-restart --set-backend 'TEST_BACKEND={}' \
            -- '\(program)' --in-process --quiet
            """, columns: 24, rows: 24)
        #expect(try await terminal.status() == 0)
        let lines = terminal.output.components(separatedBy: "\r\u{1B}[K").dropFirst().dropLast()
        #expect(lines.contains { $0.hasPrefix("round 1 of 1, threading") })
        #expect(lines.allSatisfy { $0.count < 24 }, "\(lines)")
    }

    @Test("Ctrl-C ends the program, too")
    func interrupt() async throws {
        let folder = try TemporaryFolder()
        let file = folder.path("pid")
        let command = try MusterCommandLine.start(
            ["compare", "run", "--", "/bin/sh", "-c", "echo $$ >\(file).new; mv \(file).new \(file); exec sleep 600"])
        let pid = try await eventually("the program's pid") {
            (try? String(contentsOfFile: file, encoding: .utf8)).flatMap {
                Int32($0.trimmingCharacters(in: .whitespacesAndNewlines))
            }
        }
        kill(command.pid, SIGINT)
        #expect(try await command.status() == 130)
        #expect(kill(pid, 0) == -1 && errno == ESRCH)
    }

    @Test("The program, what it has started and its files go with a comparison that is killed")
    func killed() async throws {
        let folder = try TemporaryFolder()
        let file = folder.path("pids")
        let temporary = folder.path("tmp")
        try FileManager.default.createDirectory(atPath: temporary, withIntermediateDirectories: false)
        let command = try MusterCommandLine.start(
            [
                "compare", "run", "--", "/bin/sh", "-c",
                "sleep 600 & echo $$ $! >\(file).new; mv \(file).new \(file); exec sleep 600",
            ], environment: ["TMPDIR": temporary])
        let pids = try await eventually("the program's processes") {
            (try? String(contentsOfFile: file, encoding: .utf8)).map { text in
                text.split(whereSeparator: \.isWhitespace).compactMap { Int32($0) }
            }
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: temporary).count == 1)
        kill(command.pid, SIGKILL)
        for pid in pids { try await eventually("the end of \(pid)") { ProcessFiles(pid: pid).isRunning ? nil : () } }
        #expect(pids.count == 2)
        try await eventually("no file") {
            try FileManager.default.contentsOfDirectory(atPath: temporary).isEmpty ? () : nil
        }
    }

    @Test(
        "The load goes with a comparison that is killed, too, and so do the workers",
        .enabled(if: testProgram != nil, "build muster-test-program first"))
    func killedUnderLoad() async throws {
        let program = try #require(Self.testProgram)
        let folder = try TemporaryFolder()
        let file = folder.path("pid")
        let command = try MusterCommandLine.start(
            [
                "compare", "run", "--warm-up", "0s", "--load",
                "sleep 600 & echo $! >\(file).new; mv \(file).new \(file); sleep 600", "--", program, "--quiet",
            ])
        let load = try await eventually("the load's pid") {
            (try? String(contentsOfFile: file, encoding: .utf8)).flatMap {
                Int32($0.trimmingCharacters(in: .whitespacesAndNewlines))
            }
        }
        let programs = ProcessFiles(pid: command.pid).children.filter { $0.name != "sh" }
        let all = programs + programs.flatMap(\.children) + [ProcessFiles(pid: load)]
        #expect(all.count >= 3)
        kill(command.pid, SIGKILL)
        for process in all {
            try await eventually("the end of \(process.pid)") { process.isRunning ? nil : () }
        }
    }

    @Test(
        "The log of the load is that of the measurement alone",
        .enabled(if: testProgram != nil, "build muster-test-program first"))
    func log() async throws {
        let run = try await compare(
            work: "cooperative:20ms", "--rounds", "1", "--warm-up", "100ms", "--load",
            "test ! -e {log} && touch {log} && exec sleep 1")
        #expect(run.status == 0, "\(run.errors)")
    }

    @Test(
        "The demo is compared under a load, and a killed worker's restart is measured",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"), .enabled(if: Wrk.isInstalled, "install wrk"))
    func load() async throws {
        let demo = try #require(Demo.binary)
        let run = try await MusterCommandLine.run(
            "compare", "run", "--duration", "1s", "--rounds", "4", "--warm-up", "100ms", "--format", "json", "--load",
            "wrk -t1 -c4 -d{seconds}s --latency {url}items", "--", demo, "--workers", "2", "--http", "127.0.0.1:{port}")
        let report = try report(run)
        for name in ["load_requests", "load_latency_p99", "requests", "start_time", "memory_pss", "context_switches"] {
            let row = try row(name, report)
            #expect((row.baseline ?? 0) > 0 && (row.candidate ?? 0) > 0, "\(name)")
        }
        #expect(try row("restart_time", report).baseline ?? 0 > 0)
        #expect(Set(report.evidence.baseline.workers) == [2])
    }

    @Test(
        "Wrong usage is told with what is right",
        arguments: [
            (["run"], "Name the program after '--'"), (["run", "--rounds", "0", "--", "x"], "'--rounds' must be"),
            (["run", "--set-backend", "X", "--", "x"], "NAME={}"),
            (["run", "--load", "wrk {url}", "--", "x"], "{port}"), ([], "Say what to compare"),
            (["--prometheus", "http://x", "--from", "y"], "exclude each other"),
            (["--prometheus", "x"], "not a URL"), (["--prometheus", "http://x", "--end", "noon"], "'--end' must be"),
            (["--from", "x", "--fail-if", "any > 5ms"], "at character 7"),
            (["--from", "x", "--relevant", "much"], "'--relevant' must be"),
        ])
    func usage(arguments: [String], words: String) async throws {
        let command = try MusterCommandLine.start(["compare"] + arguments)
        #expect(try await command.status() == 64)
        #expect(command.errors.contains(words), "\(command.errors)")
    }
}

/// `muster compare --prometheus`, with a real Prometheus and with servers that are none.
@Suite(.enabled(if: MusterCommandLine.isBuilt, "build the command line first: make muster"))
struct ComparePrometheusTests {
    @Test(
        "Canaries of another backend are compared by a real Prometheus",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
        .enabled(if: Prometheus.isInstalled, "install prometheus for this test"))
    func canaries() async throws {
        let demo = try await Demo(
            backend: "cooperative",
            options: [
                "--workers", "10", "--canary-backend", "threading", "--canary-percent", "50", "--interval", "10ms",
            ])
        let address = demo.ready.endpoint.replacingOccurrences(of: "http://", with: "")
        let prometheus = try await Prometheus(
            configuration: """
                global: {scrape_interval: 250ms, scrape_timeout: 250ms}
                scrape_configs: [{job_name: demo, static_configs: [{targets: ['\(address)']}]}]
                """)
        // Long enough although a scrape that is late doubles the length of its parts.
        let window = "24s"
        _ = try await eventually("a window of scrapes") {
            try await prometheus.query("min(count_over_time(muster_worker_up[1m])) >= 100").first
        }
        let run = try await MusterCommandLine.run(
            "compare", "--prometheus", prometheus.url, "--window", window, "--format", "json", "--selector",
            "job=\"demo\"", "--metric", "demo_store_items")
        try #require(run.status == 0, "\(run.errors)")
        let report = try JSONDecoder().decode(Report.self, from: Data(run.output.utf8))
        #expect(report.evidence.method == .workers)
        #expect(report.evidence.baseline.name == "cooperative" && report.evidence.candidate.name == "threading")
        #expect(report.evidence.baseline.workers == [5] && report.evidence.candidate.workers == [5])
        #expect(report.refusals.isEmpty, "\(report.refusals)")
        for name in ["loop_lateness_mean", "loop_runs", "memory_resident", "threads", "cpu", "demo_store_items"] {
            let row = try #require(report.rows.first { $0.quantity.name == name })
            #expect(row.baseline != nil && row.candidate != nil, "\(name)")
        }
        // A thread for each loop: no worker of one side has as few as one of the other's.
        let threads = try #require(report.rows.first { $0.quantity.name == "threads" })
        #expect(threads.effect == 1 && threads.outcome != .alike, "\(threads)")
        let runs = try #require(report.rows.first { $0.quantity.name == "loop_runs" })
        #expect(abs((runs.baseline ?? 0) - 400) < 60, "\(runs)")

        func failure(_ arguments: String...) async throws -> String {
            let command = try MusterCommandLine.start(["compare", "--prometheus", prometheus.url] + arguments)
            #expect(try await command.status() == 2)
            return command.errors
        }
        #expect(try await failure("--window", window, "--selector", "job=\"none\"").contains("no data"))
        #expect(try await failure("--window", window, "--selector", "job=").contains("is --selector right?"))
        #expect(
            try await failure("--window", window, "--by", "job").contains("one side only: every worker has job demo"))
        #expect(try await failure("--window", window, "--by", "zone").contains("no series has the label 'zone'"))
        #expect(try await failure("--window", window, "--candidate", "green").contains("no worker has backend green"))
        #expect(try await failure("--window", window, "--metric", "no_such").contains("there is no metric 'no_such'"))
        #expect(try await failure("--window", "10s", "--end", "1000000000").contains("no data"))
    }

    @Test(
        "A server that does not answer as a Prometheus has a clear answer",
        arguments: [
            ("401 Unauthorized", "Unauthorized", "it wants a login (401)"),
            ("403 Forbidden", "no", "access is forbidden (403)"),
            ("404 Not Found", "<html>", "is it the base URL of a Prometheus?"),
            ("302 Found", "", "it leads elsewhere (302)"),
            ("200 OK", "<html>", "the answer is not one of Prometheus"),
            (
                "422 Unprocessable Entity", #"{"status":"error","errorType":"execution","error":"too many samples"}"#,
                "Prometheus cannot run the query (422): too many samples"
            ),
            (
                "503 Service Unavailable", #"{"status":"error","errorType":"timeout","error":"query timed out"}"#,
                "Prometheus has too much to do (503): query timed out"
            ),
        ])
    func refusals(status: String, body: String, words: String) async throws {
        let server = try CannedServer(status: status, body: body)
        let run = try await MusterCommandLine.run("compare", "--prometheus", server.url)
        #expect(run.status == 2)
        #expect(run.errors.contains(words), "\(run.errors)")
    }

    @Test("Tokens and passwords are sent, and a server that is down is told")
    func credentials() async throws {
        let server = try CannedServer(status: "401 Unauthorized", body: "no")
        let folder = try TemporaryFolder()
        let token = try folder.write("s3cret\n", to: "token")
        _ = try await MusterCommandLine.run("compare", "--prometheus", server.url, "--bearer-token-file", token)
        _ = try await MusterCommandLine.run(
            "compare", "--prometheus", server.url, "--user", "ops", environment: ["MUSTER_PASSWORD": "muster"])
        #expect(server.requests.first?.contains("Authorization: Bearer s3cret") == true)
        #expect(server.requests.last?.contains("Authorization: Basic b3BzOm11c3Rlcg==") == true)
        let run = try await MusterCommandLine.run("compare", "--prometheus", "http://127.0.0.1:1")
        #expect(run.status == 2 && run.errors.contains("connection refused; is Prometheus running"))
    }

    @Test(
        "HTTPS with a private authority wants --ca-file",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
        .enabled(if: TestCertificates.areAvailable, "install openssl"))
    func privateAuthority() async throws {
        let certificates = try TestCertificates()
        let file = try certificates.folder.write(
            "tls_server_config: {cert_file: server.pem, key_file: server.key}\n", to: "web.yml")
        let demo = try await Demo(backend: nil, options: ["--web-config-file", file])
        let untrusted = try await MusterCommandLine.run("compare", "--prometheus", demo.ready.endpoint)
        #expect(untrusted.status == 2 && untrusted.errors.contains("--ca-file"), "\(untrusted.errors)")
        let trusted = try await MusterCommandLine.run(
            "compare", "--prometheus", demo.ready.endpoint, "--ca-file", certificates.certificate("ca"))
        // What answers is no Prometheus, but it was reached.
        #expect(
            trusted.status == 2 && trusted.errors.contains("is it the base URL of a Prometheus?"), "\(trusted.errors)")
    }
}
