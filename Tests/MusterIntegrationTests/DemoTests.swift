// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("The demo", .enabled(if: Demo.isBuilt, "build the demo first: make demo"), .timeLimit(.minutes(2)))
struct DemoTests {
    static let backends = ["cooperative", "threading"]

    @Test("stores, returns, lists, expires and forgets values", arguments: backends)
    func store(backend: String) async throws {
        let demo = try await Demo(backend: backend, options: ["--interval", "1ms", "--loops", "3"])
        let item = demo.ready.http + "/items/greeting"
        #expect(try await HTTPAnswer.get(item).status == 404)
        #expect(try await HTTPAnswer.get(item, method: "PUT", body: "hello").status == 204)
        #expect(try await HTTPAnswer.get(item).body == "hello")
        #expect(try await demo.get("/items", from: demo.ready.http).body.contains("1 items, 5 bytes"))
        #expect(try await HTTPAnswer.get(item, method: "DELETE").status == 204)
        #expect(try await HTTPAnswer.get(item).status == 404)
        #expect(try await HTTPAnswer.get(item + "?ttl=nonsense", method: "PUT", body: "x").status == 400)
        #expect(try await HTTPAnswer.get(item + "?ttl=1ms", method: "PUT", body: "x").status == 204)
        _ = try await eventually("the sweep") {
            try await demo.get("/metrics").body.contains(/demo_store_expired_items_total\{.*\} 1\n/) ? true : nil
        }
        #expect(try await demo.get("/nothing", from: demo.ready.http).status == 404)
        #expect(demo.ready.pid > 0)
    }

    @Test("fails /livez while its hub is blocked, and recovers", .timeLimit(.minutes(5)))
    func blockedHub() async throws {
        let demo = try await Demo(
            backend: "cooperative", options: ["--liveness-limit", "300ms", "--interval", "10ms"])
        #expect(try await demo.get("/livez").status == 200)
        // Long enough that a busy machine asks meanwhile.
        let blocked = Task { try await demo.get("/block?seconds=6", from: demo.ready.http) }
        // The looping calls may be found overdue before the hub is.
        _ = try await eventually("503 because of the hub") {
            let answer = try await demo.get("/livez?verbose")
            return answer.status == 503 && answer.body.contains("[-]hub failed") ? true : nil
        }
        // Nothing else of the endpoint minds.
        #expect(try await demo.get("/metrics").status == 200)
        #expect(try await demo.get("/readyz").status == 200)
        #expect(try await blocked.value.status == 200)
        _ = try await eventually("200 again") { try await demo.get("/livez").status == 200 ? true : nil }
        let lag = try await demo.get("/metrics").body
        #expect(lag.contains(/muster_hub_lag_seconds_bucket\{.*le="1.0"\} (\d+)/))
    }

    @Test("stays live on the threading backend while a job blocks")
    func blockedThread() async throws {
        let demo = try await Demo(
            backend: "threading", options: ["--liveness-limit", "300ms", "--interval", "10ms"])
        let blocked = Task { try await demo.get("/block?seconds=1", from: demo.ready.http) }
        var answers: Set<Int> = []
        while try await demo.get("/metrics").body.contains(/demo_http_requests_total\{.*route="\/block".*\} 1/) == false
        {
            answers.insert(try await demo.get("/livez").status)
        }
        #expect(try await blocked.value.status == 200)
        #expect(answers == [200])
    }

    @Test("ends gracefully on SIGTERM with status 0", arguments: backends)
    func terminate(backend: String) async throws {
        let demo = try await Demo(backend: backend)
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
        #expect(demo.log.contains("received signal"))
    }

    @Test("answers a request under way when SIGTERM comes", arguments: backends)
    func drain(backend: String) async throws {
        let demo = try await Demo(backend: backend)
        let request = Task { try await demo.get("/block?seconds=0.5", from: demo.ready.http) }
        _ = try await eventually("the job") {
            try await demo.get("/metrics").body.contains(/muster_threadgroup_tasks_total\{.*\} 1\n/) ? true : nil
        }
        demo.signal(SIGTERM)
        #expect(try await request.value.status == 200)
        #expect(try await demo.status() == 0)
    }

    @Test("ends at once on SIGINT, and on a second SIGTERM, with status 1", arguments: backends)
    func interrupt(backend: String) async throws {
        let interrupted = try await Demo(backend: backend)
        interrupted.signal(SIGINT)
        #expect(try await interrupted.status() == 1)
        let twice = try await Demo(backend: backend)
        let request = Task { try? await twice.get("/block?seconds=60", from: twice.ready.http) }
        _ = try await eventually("the job") {
            try await twice.get("/metrics").body.contains(/muster_threadgroup_tasks_total\{.*\} 1\n/) ? true : nil
        }
        twice.signal(SIGTERM)
        _ = try await eventually("the first") { twice.log.contains("stopping services") ? true : nil }
        twice.signal(SIGTERM)
        #expect(try await twice.status() == 1)
        _ = await request.value
    }

    @Test("is ended after the graceful shutdown timeout although a job blocks", arguments: backends)
    func hardEnd(backend: String) async throws {
        let demo = try await Demo(backend: backend, options: ["--graceful-shutdown-timeout", "300ms"])
        let request = Task { try? await demo.get("/block?seconds=60", from: demo.ready.http) }
        _ = try await eventually("the job") {
            try await demo.get("/metrics").body.contains(/muster_threadgroup_tasks_total\{.*\} 1\n/) ? true : nil
        }
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 1)
        #expect(demo.log.contains("graceful shutdown timeout exceeded"))
        _ = await request.value
    }

    @Test("restarts its services on SIGHUP and serves on", arguments: backends)
    func reload(backend: String) async throws {
        let demo = try await Demo(backend: backend)
        demo.signal(SIGHUP)
        _ = try await eventually("the restart") { demo.log.contains("restarting services") ? true : nil }
        _ = try await eventually("readiness") { try await demo.get("/readyz").status == 200 ? true : nil }
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
    }

    @Test("names the address and the remedy when a port is in use")
    func portInUse() async throws {
        let demo = try await Demo(backend: nil)
        let binary = try #require(Demo.binary)
        let endpoint = demo.ready.endpoint.replacingOccurrences(of: "http://", with: "")
        let second = try Program(binary, ["--workers", "0", "--http", "127.0.0.1:0", "--endpoint", endpoint])
        #expect(try await second.status() == 1)
        #expect(second.errors.contains(endpoint))
        #expect(second.errors.contains("in use"))
        let http = demo.ready.http.replacingOccurrences(of: "http://", with: "")
        let third = try Program(binary, ["--workers", "0", "--http", http, "--endpoint", "127.0.0.1:0"])
        #expect(try await third.status() == 1)
        #expect(third.errors.contains("--http"))
    }

    @Test("does not start when MUSTER_BACKEND is wrong, and says what it may be", arguments: ["0", "2"])
    func wrongBackend(workers: String) async throws {
        let program = try Program(
            try #require(Demo.binary), ["--workers", workers, "--http", "127.0.0.1:0", "--endpoint", "127.0.0.1:0"],
            environment: ["MUSTER_BACKEND": "eventlet"])
        #expect(try await program.status() == 1)
        for part in ["MUSTER_BACKEND", "'eventlet'", "'cooperative'", "'threading'"] {
            #expect(program.errors.contains(part), "\(program.errors)")
        }
        #expect(!program.output.contains("is ready"))
    }

    @Test("takes the default backend when MUSTER_BACKEND is empty")
    func emptyBackend() async throws {
        let demo = try await Demo(backend: "")
        #expect(demo.output.contains("backend cooperative (chosen by: hook)"))
    }

    @Test(
        "refuses wrong options with a text that says why",
        arguments: [
            (["--interval", "soon"], "interval"), (["--interval", "1ns"], "'--interval' must be"),
            (["--loops", "0"], "'--loops' must be"), (["--http", "nowhere"], "--http"),
            (["--liveness-limit", "0"], "'--liveness-limit' must be"), (["--backend", "threading"], "--backend"),
            (["--workers", "-1"], "workers"), (["--workers", "1001"], "'--workers' must be from 0 to 1000"),
            (["--warm-spares", "1001"], "'--warm-spares' must be from 0 to 1000"),
            (["--canary-percent", "101", "--canary-backend", "threading"], "'--canary-percent' must be from 0 to 100"),
            (["--canary-percent", "10"], "'--canary-percent' needs '--canary-backend'"),
            (["--canary-backend", "eventlet"], "--canary-backend"), (["--restart-method", "fork"], "--restart-method"),
            (["--startup-timeout", "soon"], "--startup-timeout"), (["--idle-grace", "soon"], "--idle-grace"),
            (["--abort-grace", "0"], "'--abort-grace' must be"), (["--data-limit", "much"], "--data-limit"),
        ])
    func wrongOptions(options: [String], text: String) async throws {
        let program = try Program(try #require(Demo.binary), options)
        #expect(try await program.status() == 64)
        #expect(program.errors.contains(text))
    }

    @Test("explains itself")
    func help() async throws {
        let program = try Program(try #require(Demo.binary), ["--help"])
        #expect(try await program.status() == 0)
        for option in [
            "--http", "--endpoint", "--loops", "--interval", "--ready-file", "--liveness-limit", "--workers",
            "--data-limit",
        ] {
            #expect(program.output.contains(option))
        }
        #expect(program.output.contains("MUSTER_BACKEND"))
    }
}
