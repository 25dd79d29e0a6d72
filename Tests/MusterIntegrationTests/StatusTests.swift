// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "The status of the demo", .serialized, .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
    .timeLimit(.minutes(5)))
struct StatusTests {
    /// What a test reads of a status.
    private struct Status: Decodable {
        struct Worker: Decodable {
            struct Process: Decodable {
                let pid: Int32
                let threads: Int?
            }
            let slot: Int
            let state: String
            let process: Process?
            let backend: String?
            let backendSource: String?
            let restarts: [String: Int]
            let lastRestartReason: String?
            let heartbeatAgeSeconds: Double?
            let jobs: Int?
        }
        struct Loop: Decodable {
            let name: String
            let backend: String
            let workers: Int
            let runs: Int
            let latenessP99Seconds: Double?
            let nextRunAt: Double?
        }
        struct Backend: Decodable {
            let name: String
            let workers: Int
        }
        let state: String
        let mode: String
        let name: String
        let backends: [Backend]
        let workers: [Worker]
        let loops: [Loop]
    }

    private func status(of demo: Demo) async throws -> Status {
        let answer = try await demo.get("/status")
        #expect(answer.status == 200)
        return try JSONDecoder().decode(Status.self, from: Data(answer.body.utf8))
    }

    private func status(of demo: Demo, _ what: String, _ fits: (Status) -> Bool) async throws -> Status {
        try await eventually(what) {
            let status = try await status(of: demo)
            return fits(status) ? status : nil
        }
    }

    private static let schema = PythonTool.repository.appendingPathComponent("docs/status.schema.json").path

    /// Holds an answer to the schema, with the validator that the documentation names.
    private func validate(_ demo: Demo) async throws {
        let folder = try TemporaryFolder()
        let file = try folder.write(try await demo.get("/status").body, to: "status.json")
        let result = try await PythonTool.run(["-m", "check_jsonschema", "--schemafile", Self.schema, file])
        #expect(result.status == 0, "\(result.text)")
    }

    private static let hasValidator = PythonTool.has("check_jsonschema")

    @Test("tells workers of both backends, and why one was restarted")
    func supervised() async throws {
        let demo = try await Demo(
            backend: "cooperative",
            options: [
                "--workers", "3", "--interval", "20ms", "--canary-backend", "threading", "--canary-percent", "34",
            ])
        let before = try await status(of: demo, "loops in all workers") {
            $0.workers.count == 3 && $0.workers.allSatisfy { $0.backend != nil && $0.state == "ready" }
                && $0.loops.contains { $0.runs > 20 }
        }
        #expect(before.state == "ready" && before.mode == "supervisor" && before.name == "store")
        #expect(Set(before.backends.map(\.name)) == ["cooperative", "threading"])
        #expect(before.backends.map(\.workers).reduce(0, +) == 3)
        #expect(Set(before.loops.map(\.backend)) == ["cooperative", "threading"])
        #expect(before.loops.allSatisfy { $0.latenessP99Seconds != nil && $0.nextRunAt != nil })
        #expect(before.workers.allSatisfy { ($0.process?.threads ?? 0) > 0 && $0.jobs != nil })

        let victim = try #require(before.workers[1].process)
        kill(victim.pid, SIGKILL)
        let after = try await status(of: demo, "the restart") {
            $0.workers[1].restarts == ["signal": 1] && $0.workers[1].state == "ready" && $0.workers[1].backend != nil
        }
        #expect(after.workers[1].lastRestartReason == "signal")
        #expect(after.workers[1].process?.pid != victim.pid)
        #expect(after.workers[0].restarts.isEmpty && after.workers[0].lastRestartReason == nil)
        // What the former process has counted is still there.
        for (old, new) in zip(before.loops, after.loops) {
            #expect(old.name == new.name && old.backend == new.backend && old.runs <= new.runs)
        }
        let page = try await demo.get("/")
        #expect(page.status == 200)
        #expect(
            page.body.contains("<td data-label=\"Restarts\" class=\"number\"><span>1<span class=\"small\">signal, "))
        if Self.hasValidator { try await validate(demo) }
    }

    @Test("is there at once although a worker hangs, and shows which")
    func hung() async throws {
        let demo = try await Demo(backend: nil, options: ["--workers", "2", "--liveness-limit", "30s"])
        _ = try await status(of: demo, "both workers") { $0.workers.allSatisfy { $0.backend != nil } }
        let worker = try #require(demo.workers.first)
        kill(worker.pid, SIGSTOP)
        defer { kill(worker.pid, SIGCONT) }
        let status = try await status(of: demo, "an old heartbeat") { ($0.workers[0].heartbeatAgeSeconds ?? 0) > 1.5 }
        #expect(status.workers[1].heartbeatAgeSeconds ?? 0 < 1.5)
        #expect(try await demo.get("/").body.contains("class=\"alarm\"><time"))
    }

    @Test("is that of one worker in one process", arguments: ["cooperative", "threading"])
    func oneProcess(backend: String) async throws {
        let demo = try await Demo(backend: backend, options: ["--interval", "20ms"])
        let status = try await status(of: demo, "runs") { $0.loops.contains { $0.runs > 5 } }
        #expect(status.mode == "process" && status.state == "ready")
        #expect(status.workers.map(\.process?.pid) == [demo.ready.pid])
        #expect(status.workers[0].backend == backend && status.workers[0].backendSource == "hook")
        if Self.hasValidator { try await validate(demo) }
    }

    // MARK: A browser

    private static let hasBrowser =
        find("chromium") != nil && find("chromedriver") != nil && PythonTool.has("selenium")

    @Test(
        "is a page that a browser shows in all sizes and schemes, keeps up to date, and finds nothing wrong with",
        .enabled(if: hasBrowser, "install Chromium and selenium first: scripts/install-packages test"))
    func browser() async throws {
        let demo = try await Demo(backend: nil, options: ["--workers", "3", "--interval", "20ms"])
        _ = try await status(of: demo, "both workers") { $0.workers.allSatisfy { $0.backend != nil } }
        let worker = try #require(demo.workers.first)
        let script = PythonTool.repository.appendingPathComponent("Tests/browser/status-page.py").path
        let result = try await PythonTool.run([script, "check", demo.ready.endpoint, "\(worker.pid)"])
        #expect(result.status == 0, "\(result.text)")
    }
}
