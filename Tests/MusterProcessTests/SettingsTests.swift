// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("A settings file that changes", .transcript, .timeLimit(.minutes(10)))
struct SettingsTests {
    private static let first = #"{"muster": {"graceful-shutdown-timeout": "20s"}}"#
    private static let second = #"{"muster": {"graceful-shutdown-timeout": "7s", "liveness-limit": "30s"}}"#

    /// What can become of a file.
    private static let breakages: [(name: String, change: @Sendable (TestProgram) throws -> Void)] = [
        ("half-written", { try $0.set(#"{"muster": {"graceful-shutdown-"#) }),
        ("invalid", { try $0.set(#"{"muster": {"graceful-shutdown-timeout": "soon"}}"#) }),
        ("empty", { try $0.set("") }),
        ("removed", { try FileManager.default.removeItem(atPath: $0.folder.path("settings.json")) }),
        (
            "a pipe",
            { program in
                let path = program.folder.path("settings.json")
                try FileManager.default.removeItem(atPath: path)
                #expect(mkfifo(path, 0o600) == 0)
            }
        ),
    ]

    private func run(
        _ options: [String], backend: String? = nil, _ body: (TestProgram) async throws -> Void
    ) async throws {
        try await TestProgram.run(["--muster-settings-file=SETTINGS"] + options, backend: backend) { program in
            try await program.ready()
            try program.set(Self.first)
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            try await body(program)
        }
    }

    /// Asks each worker for what it goes by.
    private func timeouts(_ program: TestProgram, _ workers: Int) async throws -> Set<String> {
        var answers: Set<String> = []
        for _ in 0..<workers * 8 { answers.insert(try await program.command("timeout")) }
        return answers
    }

    @Test("breaks no replacement of a dead worker, nor a warm spare", arguments: 0..<5, backends)
    func breaks(index: Int, backend: String) async throws {
        let breakage = Self.breakages[index]
        try await run(["--workers=1", "--spares=1"], backend: backend) { program in
            try breakage.change(program)
            // The spare takes over first, and then one that was started with the broken file there.
            for _ in 0..<3 {
                let latest = program.lines("started").count
                kill(program.lines("started")[latest - 1].pid, SIGKILL)
                try await program.said("started", latest + 1)
            }
            #expect(try await timeouts(program, 1) == ["20 10"], "\(breakage.name)")
            program.signal(SIGTTIN)
            _ = try await eventually("another worker") { program.lines("started", by: "test/1").isEmpty ? nil : true }
            #expect(try await timeouts(program, 2) == ["20 10"], "\(breakage.name)")
        }
    }

    @Test("breaks nothing after a reload that it made fail", arguments: [0, 1, 2, 3])
    func refused(index: Int) async throws {
        try await run(["--workers=2"]) { program in
            try Self.breakages[index].change(program)
            program.signal(SIGHUP)
            try await program.logged("reload refused")
            let count = program.lines("started").count
            kill(program.lines("started")[count - 1].pid, SIGKILL)
            try await program.said("started", count + 1)
            #expect(try await timeouts(program, 2) == ["20 10"])
        }
    }

    @Test("reaches all workers with a reload, and none before", arguments: ["reload", "mutate"], backends)
    func valid(method: String, backend: String) async throws {
        try await run(["--workers=2", "--muster-restart-method=\(method)"], backend: backend) { program in
            try program.set(Self.second)
            let count = program.lines("started").count
            kill(program.lines("started")[count - 1].pid, SIGKILL)
            try await program.said("started", count + 1)
            #expect(try await timeouts(program, 2) == ["20 10"])
            program.signal(SIGHUP)
            try await program.logged("reload completed", count: 2)
            #expect(try await timeouts(program, 2) == ["7 30"])
        }
    }

    @Test("that a service cannot take up in place makes the reload fail", arguments: backends)
    func failedReset(backend: String) async throws {
        let options = ["--workers=2", "--muster-restart-method=mutate", "--reset=fail"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            program.signal(SIGHUP)
            try await program.metric("muster_reloads_total", ["method": "mutate", "outcome": "aborted"], is: 1)
            try await program.metric("muster_reloads_total", is: 1)
            try await program.metric("muster_workers", ["state": "ready"], is: 2)
        }
    }

    @Test(
        "with a duration beyond all use is refused, and the longest one works",
        arguments: ["9000000000s", "366d", "1e300s", "99999999999999999999d"])
    func longest(duration: String) async throws {
        for setting in ["MUSTER_LIVENESS_LIMIT", "MUSTER_ABORT_GRACE", "MUSTER_RESTART_INTENSITY_PERIOD"] {
            try await TestProgram.run(["--workers=1"], environment: [setting: duration]) { program in
                let status = try await program.status()
                #expect(status == 1)
            }
        }
        let all = [
            "MUSTER_LIVENESS_LIMIT", "MUSTER_ABORT_GRACE", "MUSTER_GRACEFUL_SHUTDOWN_TIMEOUT", "MUSTER_STARTUP_TIMEOUT",
            "MUSTER_RESTART_BACKOFF_MAXIMUM", "MUSTER_RESTART_BACKOFF_STABLE_TIME", "MUSTER_RESTART_INTENSITY_PERIOD",
        ]
        let environment = Dictionary(uniqueKeysWithValues: all.map { ($0, "365d") })
        try await TestProgram.run(["--workers=1", "--loop"], environment: environment) { program in
            try await program.ready()
            kill(program.lines("started")[0].pid, SIGKILL)
            try await program.said("started", 2)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }
}
