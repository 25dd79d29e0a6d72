// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

private let hostHeader = "Host: x\r\n"

/// Requests byte for byte, and what is to become of them (RFC 9112).
@Suite("Endpoint: HTTP/1.1")
struct EndpointConformanceTests {
    @Test(
        "targets and framing",
        arguments: HTTPConformance.table(target: "/livez") + [
            ("GET http://x HTTP/1.1\r\n\(hostHeader)\r\n", 200),
            ("GET http://x/none HTTP/1.1\r\n\(hostHeader)\r\n", 404),
            ("OPTIONS * HTTP/1.1\r\n\(hostHeader)\r\n", 405), ("CONNECT x:80 HTTP/1.1\r\n\(hostHeader)\r\n", 405),
            ("POST /livez HTTP/1.1\r\n\(hostHeader)Content-Length: 5\r\n\r\nhello", 405),
            ("GET /livez HTTP/1.1\r\n\(hostHeader)Content-Length: 5\r\n\r\nhello", 413),
        ])
    func table(request: String, status: Int) throws {
        let bench = try EndpointBench()
        let client = try bench.client()
        client.send(request)
        if status == 200 || status == 404 || status == 405 {
            #expect(try client.response().status == status)
        } else {
            // Once, and then nothing more is taken for a request.
            client.send("GET /livez HTTP/1.1\r\n\(hostHeader)\r\n")
            let answer = try client.rest()
            #expect(answer.hasPrefix("HTTP/1.1 \(status) ") || answer.hasPrefix("HTTP/1.0 \(status) "), "\(answer)")
            #expect(answer.components(of: "HTTP/1.").count == 2, "\(answer)")
            #expect(answer.components(of: "\r\n\r\n").count == 2, "\(answer)")
        }
        #expect(try bench.get("/livez").text == "ok")
    }

    @Test("Whatever comes is answered by the rules or ended, and nothing hangs", arguments: 0..<4)
    func fuzz(seed: Int) throws {
        // Requests that are not whole end with it.
        let bench = try EndpointBench { $0.idleTimeout = .milliseconds(10) }
        try bench.health.register(.asynchronous("slow", .ready) { await Task.yield() })
        var generator = SplitMix64(seed: UInt64(seed))
        let known: Set<Int> = [100, 200, 400, 404, 405, 411, 413, 414, 417, 431, 501, 503, 505]
        for round in 0..<Scale.of(250) {
            let bytes = RequestFuzzer.requests(&generator)
            let client = try bench.client()
            client.send(bytes)
            // Both ends of half-closed connections, and those that leave it to the server.
            if Bool.random(using: &generator) {
                client.send("GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            }
            shutdown(client.descriptor, Int32(SHUT_WR))
            // Ends after 30 s by an error.
            let answer = try client.rest()
            #expect(answer.isEmpty || answer.hasPrefix("HTTP/1."))
            // A body may have such text, too, but no status after it.
            for head in answer.components(of: "HTTP/1.") where head.hasPrefix("1 ") || head.hasPrefix("0 ") {
                guard let status = Int(head.dropFirst(2).prefix(3)), !known.contains(status) else { continue }
                Issue.record("seed \(seed), round \(round): \(status) to \(bytes.prefix(500))")
            }
        }
        #expect(try bench.get("/livez").text == "ok")
    }
}

extension String {
    fileprivate func components(of separator: String) -> [Substring] {
        split(separator: separator, omittingEmptySubsequences: false)
    }
}
