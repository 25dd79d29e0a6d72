// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterPlatform
import MusterTestSupport
import Testing

/// A service that answers HTTP, over four workers at one socket.
@Suite("A service that answers HTTP", .timeLimit(.minutes(10)))
struct HTTPServiceTests {
    private static let workers = 4

    @Test("connections are spread evenly over the workers, kept ones and short ones", arguments: backends)
    func share(backend: String) async throws {
        try await HTTPProgram.run(backend) { program in
            var kept: [TestClient] = []
            for _ in 0..<64 { kept.append(try program.client()) }
            var share: [String: Int] = [:]
            for client in kept { share[try client.get("/who").text, default: 0] += 1 }
            #expect(share.count == Self.workers && share.values.allSatisfy { $0 >= 4 }, "\(share)")
            var short: [String: Int] = [:]
            for _ in 0..<100 {
                let client = try program.client()
                short[try client.get("/who", ["Connection: close"]).text, default: 0] += 1
            }
            #expect(short.count == Self.workers && short.values.allSatisfy { $0 >= 10 }, "\(short)")
        }
    }

    @Test(
        "reloads lose no request: on kept connections, on new ones, streamed, and of slow uploads", arguments: backends)
    func reloads(backend: String) async throws {
        try await HTTPProgram.run(backend) { program in
            try await withThrowingTaskGroup(of: Void.self) { group in
                let isOver = Counter()
                let answers = Counter()
                // Each on a thread of its own: the clients block.
                for kind in Traffic.allCases {
                    group.addTask { try await program.traffic(kind, until: isOver, counting: answers) }
                }
                let storm = try await Storm.run(atLeast: 3) { round in
                    kill(program.pid, SIGHUP)
                    try await program.logged("reload completed", count: round)
                }
                isOver.add()
                try await group.waitForAll()
                print(
                    "storm of reloads, HTTP server, \(backend), \(storm.took): \(storm.count) reloads, "
                        + "\(answers.value) requests, none failed")
            }
        }
    }

    @Test(
        "TLS by a web config file, and certificates that are renewed while it runs",
        .enabled(if: TestCertificates.areAvailable && find("curl") != nil), arguments: backends)
    func tls(backend: String) async throws {
        let certificates = try TestCertificates()
        let folder = try TemporaryFolder()
        func config(_ name: String, _ framing: String) -> String {
            """
            tls_server_config: {cert_file: "\(certificates.certificate(name))", key_file: "\(certificates.key(name))"}
            http_server_config: {headers: {X-Frame-Options: "\(framing)"}}
            """
        }
        let file = try folder.write(config("server", "deny"), to: "web.yml")
        try await HTTPProgram.run(backend, ["HTTP_WEB_CONFIG": file]) { program in
            let first = try await program.curl(certificates.certificate("ca"))
            #expect(first.contains("x-frame-options: deny"), "\(first)")
            #expect(first.hasSuffix("hello"))
            // A client without TLS gets nothing.
            let plain = try program.client()
            plain.request("GET", "/")
            #expect(try !plain.rest().contains("hello"))
            _ = try folder.write(config("renewed", "sameorigin"), to: "new.yml")
            #expect(rename(folder.path("new.yml"), file) == 0)
            // Each worker sees it with its next connection.
            _ = try await eventually("the new version") {
                try await program.curl(certificates.certificate("ca")).contains("x-frame-options: sameorigin")
                    ? true : nil
            }
        }
    }

    @Test("a killed worker costs the requests that it was answering, and no others", arguments: backends)
    func kills(backend: String) async throws {
        try await HTTPProgram.run(backend) { program in
            let victim = try program.client()
            let slot = try victim.get("/who").text
            victim.request("GET", "/slow/600000")
            let others = try (0..<8).map { _ in try program.client() }
            let away = try others.filter { try $0.get("/who").text != slot }
            kill(Int32(try await program.pid(ofSlot: slot)) ?? 0, SIGKILL)
            #expect(try victim.rest() == "")
            for client in away { #expect(try client.get("/").text == "hello") }
            for _ in 0..<20 { #expect(try program.client().get("/").text == "hello") }
        }
    }
}

/// What clients do all the time.
private enum Traffic: CaseIterable {
    case kept
    case short
    case stream
    case upload
}

/// The program, started.
private struct HTTPProgram: Sendable {
    private let program: Program
    private let address: ListenAddress

    var pid: Int32 { program.pid }

    static func run(
        _ backend: String, _ environment: [String: String] = [:], _ body: (HTTPProgram) async throws -> Void
    ) async throws {
        await Places.shared.enter()
        defer { Places.shared.leave() }
        let binary = URL(fileURLWithPath: ProcessInfo.processInfo.arguments[0]).deletingLastPathComponent()
            .appendingPathComponent("muster-http-program").path
        let program = try Program(
            binary, ["--muster-endpoint-address=127.0.0.1:0"],
            environment: environment.merging(["HTTP_BACKEND": backend]) { first, _ in first })
        defer { program.end() }
        let address = try await program.wait(for: "readiness") { transcript in
            try transcript.lines.first { $0.hasPrefix("ready ") }.map {
                try ListenAddress(parsing: String($0.split(separator: " ")[1]))
            }
        }
        // Each worker, as one is enough for readiness.
        let started = HTTPProgram(program: program, address: address)
        try await started.logged("worker ready", count: 4)
        try await body(started)
        kill(program.pid, SIGTERM)
        #expect(try await program.status() == 0)
    }

    /// What curl gets over TLS: headers and body.
    func curl(_ authority: String) async throws -> String {
        guard case .tcp(_, let port) = address else { return "" }
        let curl = try Program(
            find("curl") ?? "curl", ["-sS", "-i", "--cacert", authority, "https://localhost:\(port)/"])
        _ = try await curl.status()
        return curl.look { $0.output.lowercased() }
    }

    func client() throws -> TestClient { try TestClient(address) }

    func logged(_ text: String, count: Int = 1) async throws {
        _ = try await program.wait(for: "'\(text)' \(count) times") { transcript in
            transcript.errors.split(separator: "\n").count { $0.contains(text) } >= count ? true : nil
        }
    }

    /// The process of a slot, as the log tells.
    func pid(ofSlot slot: String) async throws -> Substring {
        try await program.wait(for: "worker \(slot)") { transcript in
            let line = transcript.errors.split(separator: "\n").last {
                $0.contains("worker ready") && $0.contains("worker=api/\(slot) ")
            }
            return line?.split(separator: " ").first { $0.hasPrefix("pid=") }?.dropFirst(4)
        }
    }

    /// Requests of a kind, one after the other, on a thread of its own. Ends with the first that fails.
    func traffic(_ kind: Traffic, until isOver: Counter, counting answers: Counter) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            Thread.detachNewThread {
                continuation.resume(
                    with: Result {
                        var client = try self.client()
                        while isOver.value == 0 {
                            try self.exchange(kind, &client)
                            answers.add()
                        }
                    })
            }
        }
    }

    private func exchange(_ kind: Traffic, _ client: inout TestClient) throws {
        let answer: TestClient.Response
        switch kind {
        case .kept:
            answer = try client.get("/")
            guard answer.text == "hello" else { throw TestClient.Failure.nonsense(answer.text) }
        case .short:
            client = try self.client()
            answer = try client.get("/who", ["Connection: close"])
        case .stream:
            answer = try client.get("/stream/300")
            guard answer.body.count == 300_000 else { throw TestClient.Failure.nonsense("\(answer.body.count) bytes") }
        case .upload:
            client.request("POST", "/count", ["Content-Length: 10000"])
            for _ in 0..<10 {
                client.send([UInt8](repeating: 0x61, count: 1000))
                usleep(5000)
            }
            answer = try client.response()
            guard answer.text == "10000" else { throw TestClient.Failure.nonsense(answer.text) }
        }
        guard answer.status == 200 else { throw TestClient.Failure.nonsense("\(answer.status)") }
        // The server says when it will close a connection.
        if answer.header("connection") == "close" { client = try self.client() }
    }
}
