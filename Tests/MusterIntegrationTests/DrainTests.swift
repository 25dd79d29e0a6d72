// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "The demo's graceful end", .enabled(if: Demo.isBuilt, "build the demo first: make demo"), .timeLimit(.minutes(2)))
struct DrainTests {
    /// Ends the demo gracefully, and waits until it takes no connection any more.
    private func terminate(_ demo: Demo) async throws {
        demo.signal(SIGTERM)
        _ = try await eventually("a refused connection") {
            (try? HTTPConnection(to: demo.ready.http)) == nil ? true : nil
        }
    }

    @Test("answers what comes on an idle connection meanwhile, and closes it then", arguments: DemoTests.backends)
    func idle(backend: String) async throws {
        let demo = try await Demo(backend: backend, options: ["--idle-grace", "60s"])
        let silent = try HTTPConnection(to: demo.ready.http)
        let idle = try HTTPConnection(to: demo.ready.http)
        let before = try await idle.get("/items")
        #expect(before.status == 200)
        #expect(before.headers["connection"] == nil)
        try await terminate(demo)
        let last = try await idle.get("/items")
        #expect(last.status == 200)
        #expect(last.headers["connection"] == "close")
        #expect(try await idle.end() == "")
        // Accepted before, like the other one, but never used.
        let first = try await silent.get("/")
        #expect(first.status == 200)
        #expect(first.headers["connection"] == "close")
        #expect(try await silent.end() == "")
        #expect(try await demo.status() == 0)
    }

    @Test("finishes what is under way, and what has only half arrived", arguments: DemoTests.backends)
    func underWay(backend: String) async throws {
        let demo = try await Demo(backend: backend, options: ["--idle-grace", "0"])
        let half = try HTTPConnection(to: demo.ready.http)
        try half.send("PUT /items/half HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nha")
        let sleeping = try HTTPConnection(to: demo.ready.http)
        try sleeping.send("GET /sleep?ms=15000 HTTP/1.1\r\nHost: test\r\n\r\n")
        _ = try await eventually("the job") {
            try await demo.get("/metrics").body.contains(/muster_threadgroup_tasks_total\{.*\} 1\n/) ? true : nil
        }
        try await terminate(demo)
        try half.send("lf")
        let stored = try await half.end()
        #expect(stored.hasPrefix("HTTP/1.1 204"))
        #expect(stored.lowercased().contains("connection: close"))
        let slept = try await sleeping.answer()
        #expect(slept.status == 200)
        #expect(slept.headers["connection"] == "close")
        #expect(try await sleeping.end() == "")
        #expect(try await demo.status() == 0)
    }

    @Test("keeps an idle connection for the grace only", arguments: DemoTests.backends)
    func grace(backend: String) async throws {
        let demo = try await Demo(backend: backend, options: ["--idle-grace", "10ms"])
        let idle = try HTTPConnection(to: demo.ready.http)
        #expect(try await idle.get("/items").status == 200)
        demo.signal(SIGTERM)
        #expect(try await idle.end() == "")
        #expect(try await demo.status() == 0)
    }

    @Test("does not outlast the graceful shutdown timeout for an idle connection")
    func deadline() async throws {
        let demo = try await Demo(
            backend: nil, options: ["--idle-grace", "60s", "--graceful-shutdown-timeout", "200ms"])
        let idle = try HTTPConnection(to: demo.ready.http)
        #expect(try await idle.get("/items").status == 200)
        demo.signal(SIGTERM)
        #expect(try await idle.end() == "")
        #expect(try await demo.status() == 1)
    }

    @Test("answers the first of several requests sent at once, and says that it closes")
    func pipelined() async throws {
        let demo = try await Demo(backend: nil, options: ["--idle-grace", "60s"])
        let connection = try HTTPConnection(to: demo.ready.http)
        #expect(try await connection.get("/items").status == 200)
        try await terminate(demo)
        let request = "GET /items HTTP/1.1\r\nHost: test\r\n\r\n"
        try connection.send(request + request + request)
        let received = try await connection.end()
        #expect(received.components(separatedBy: "HTTP/1.1 200").count == 2)
        #expect(received.lowercased().contains("connection: close"))
        #expect(try await demo.status() == 0)
    }
}
