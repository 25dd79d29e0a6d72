// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("The demo's trouble", .enabled(if: Demo.isBuilt, "build the demo first: make demo"), .timeLimit(.minutes(2)))
struct TroubleTests {
    @Test("/crash ends the process by a signal", arguments: DemoTests.backends)
    func crash(backend: String) async throws {
        let demo = try await Demo(backend: backend)
        await #expect(throws: (any Error).self) { try await demo.get("/crash", from: demo.ready.http) }
        let status = try await demo.status()
        #expect([SIGILL, SIGTRAP].map { $0 + 128 }.contains(status))
    }

    @Test("/exit ends the process with the given status", arguments: [0, 7, 255])
    func exit(code: Int32) async throws {
        let demo = try await Demo(backend: nil)
        await #expect(throws: (any Error).self) { try await demo.get("/exit?code=\(code)", from: demo.ready.http) }
        #expect(try await demo.status() == code)
    }

    @Test("/hang is noticed by /livez, and over when it ends", arguments: DemoTests.backends)
    func hang(backend: String) async throws {
        let demo = try await Demo(backend: backend, options: ["--liveness-limit", "300ms", "--interval", "10ms"])
        #expect(try await demo.get("/livez").status == 200)
        // Long enough that a busy machine asks meanwhile.
        let hanging = Task { try await demo.get("/hang?seconds=10", from: demo.ready.http) }
        // A check may fail before the one that is waited for does.
        let culprit = backend == "cooperative" ? "[-]hub failed" : "looping call 'sweep-0'"
        _ = try await eventually("503 with '\(culprit)'") {
            let answer = try await demo.get("/livez?verbose")
            return answer.status == 503 && answer.body.contains(culprit) ? true : nil
        }
        #expect(try await hanging.value.status == 200)
        _ = try await eventually("200 again") { try await demo.get("/livez").status == 200 ? true : nil }
    }

    @Test(
        "/sleep lets others work meanwhile, /work and /compute take their time",
        arguments: DemoTests.backends + ["global-pool"])
    func sleepAndWork(backend: String) async throws {
        let demo = try await Demo(backend: backend)
        let sleeping = try HTTPConnection(to: demo.ready.http)
        try sleeping.send("GET /sleep?ms=60000 HTTP/1.1\r\nHost: test\r\n\r\n")
        _ = try await eventually("the job") {
            try await demo.get("/metrics").body.contains(/muster_threadgroup_tasks_total\{.*\} 1\n/) ? true : nil
        }
        let began = ContinuousClock.now
        #expect(try await demo.get("/work?ms=50", from: demo.ready.http).body.hasPrefix("worked for 50 ms"))
        #expect(ContinuousClock.now - began >= .milliseconds(50))
        #expect(try await demo.get("/compute?ms=1", from: demo.ready.http).body.hasPrefix("worked for 1 ms"))
        #expect(try await demo.get("/compute?ms=x", from: demo.ready.http).status == 400)
        let pool = ["backend": backend, "pool": "compute", "outcome": "finished"]
        #expect(try await demo.metrics().sum("muster_pool_tasks_total", pool) == 1)
        #expect(try await demo.metrics().sum("muster_pool_tasks_total", ["outcome": "failed"]) == 1)
        #expect(try await demo.get("/sleep?ms=1", from: demo.ready.http).body == "slept for 1 ms\n")
    }

    @Test("/leak takes memory and keeps it")
    func leak() async throws {
        let demo = try await Demo(backend: nil)
        func resident() async throws -> Int {
            let body = try await demo.get("/metrics").body
            let match = try #require(body.firstMatch(of: /\nprocess_resident_memory_bytes(?:\{.*\})? ([0-9.e+]+)/))
            return Int(try #require(Double(match.1)))
        }
        let before = try await resident()
        #expect(try await demo.get("/leak?mb=64", from: demo.ready.http).status == 200)
        #expect(try await resident() - before > 60 << 20)
    }

    @Test("the first page says who answers and lists everything", arguments: DemoTests.backends)
    func firstPage(backend: String) async throws {
        let demo = try await Demo(backend: backend)
        let page = try await demo.get("/", from: demo.ready.http).body
        #expect(page.hasPrefix("muster-demo, pid \(demo.ready.pid), backend \(backend)\n"))
        for route in ["/items", "/block", "/hang", "/sleep", "/work", "/leak", "/exit", "/crash"] {
            #expect(page.contains(route))
        }
    }

    @Test("wrong parameters are refused with a text that says why")
    func wrongParameters() async throws {
        let demo = try await Demo(backend: nil)
        for (path, text) in [
            ("/block", "seconds must be from 0 to 3600"), ("/block?seconds=-1", "seconds must be from 0 to 3600"),
            ("/hang?seconds=x", "seconds must be from 0 to 3600"), ("/hang?seconds=nan", "seconds must be from"),
            ("/sleep", "ms must be a whole number from 0 to 3600000"), ("/sleep?ms=1.5", "ms must be a whole number"),
            ("/work?ms=3600001", "ms must be a whole number from 0 to 3600000"),
            ("/leak?mb=0", "mb must be a whole number from 1 to 65536"), ("/leak?mb=65537", "mb must be"),
            ("/exit?code=256", "code must be a whole number from 0 to 255"), ("/exit?code=-1", "code must be"),
            ("/exit", "code must be"),
        ] {
            let answer = try await demo.get(path, from: demo.ready.http)
            #expect(answer.status == 400, "\(path)")
            #expect(answer.body.contains(text), "\(path): \(answer.body)")
        }
        #expect(try await demo.get("/livez").status == 200)
    }
}
