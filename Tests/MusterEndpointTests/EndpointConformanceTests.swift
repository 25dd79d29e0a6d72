// SPDX-License-Identifier: Apache-2.0

import Glibc
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
        arguments: [
            ("GET /livez HTTP/1.1\r\n\(hostHeader)\r\n", 200), ("GET /livez HTTP/1.0\r\n\r\n", 200),
            ("GET http://x/livez HTTP/1.1\r\n\(hostHeader)\r\n", 200),
            ("GET HTTP://x:9917/livez HTTP/1.1\r\n\(hostHeader)\r\n", 200),
            ("GET https://x/livez?verbose HTTP/1.1\r\n\(hostHeader)\r\n", 200),
            ("GET http://x HTTP/1.1\r\n\(hostHeader)\r\n", 200),
            ("GET http://x/none HTTP/1.1\r\n\(hostHeader)\r\n", 404), ("GET livez HTTP/1.1\r\n\(hostHeader)\r\n", 400),
            ("GET * HTTP/1.1\r\n\(hostHeader)\r\n", 400), ("GET x:80 HTTP/1.1\r\n\(hostHeader)\r\n", 400),
            ("OPTIONS * HTTP/1.1\r\n\(hostHeader)\r\n", 405), ("CONNECT x:80 HTTP/1.1\r\n\(hostHeader)\r\n", 405),
            ("GET /metrics%00foo HTTP/1.1\r\n\(hostHeader)\r\n", 400),
            ("GET /livez%00/../metrics HTTP/1.1\r\n\(hostHeader)\r\n", 400),
            ("GET /livez?exclude=%00 HTTP/1.1\r\n\(hostHeader)\r\n", 400), ("GET /livez HTTP/1.1\r\n\r\n", 400),
            ("GET /livez HTTP/1.1\r\n\(hostHeader)\(hostHeader)\r\n", 400),
            ("GET /livez HTTP/1.1\r\nHost : x\r\n\r\n", 400),
            ("GET /livez HTTP/1.1\r\n\(hostHeader)Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello", 400),
            ("GET /livez HTTP/1.1\r\n\(hostHeader)Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
            (
                "GET /livez HTTP/1.1\r\n\(hostHeader)Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400
            ),
            ("GET /livez HTTP/1.1\r\n\(hostHeader)Content-Length: abc\r\n\r\n", 400),
            ("GET /livez HTTP/1.1\r\n\(hostHeader)Content-Length: -1\r\n\r\nx", 400),
            ("GET /livez HTTP/1.1\r\n\(hostHeader)Content-Length: 5x\r\n\r\nhello", 400),
            ("GET /livez HTTP/1.1\r\n\(hostHeader)Content-Length: 5, 5\r\n\r\nhello", 400),
            ("POST /livez HTTP/1.1\r\n\(hostHeader)Content-Length: \r\n\r\n", 400),
            ("GET /livez HTTP/1.0\r\nContent-Length: 0x5\r\n\r\nhello", 400),
            ("GET /livez HTTP/1.1\r\n\(hostHeader)Content-Length: 99999999999999999999\r\n\r\n", 413),
            ("POST /livez HTTP/1.1\r\n\(hostHeader)Content-Length: 5\r\n\r\nhello", 405),
            ("GET /livez HTTP/1.1\r\n\(hostHeader)Content-Length: 5\r\n\r\nhello", 413),
        ] as [(String, Int)])
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

    private static let templates = [
        "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /metrics?name[]=a HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n",
        "HEAD /readyz?verbose&exclude=a HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip;q=0.5\r\n\r\n",
        "GET http://x/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nUpgrade: h2c\r\nCookie: a=b; c\r\n\r\n",
    ].map { Array($0.utf8) }
    private static let pieces = [
        "\r\n", "\n", "\r", "\0", " ", ":", "%", "%00", "%zz", "?", "&", "=", ";q=", ",", "HTTP/1.1", "HTTP/9.9", "//",
        "..",
        "Host: y\r\n", "Content-Length: 99999999999999999999\r\n", "Content-Length: -1\r\n",
        "Transfer-Encoding: gzip, chunked\r\n", "Connection: close\r\n", "\u{FF}",
        String(repeating: "a", count: 20_000),
    ].map { Array($0.utf8) }

    /// Requests that are changed at random; the same ones for the same seed.
    private static func requests(_ generator: inout SeededGenerator) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            bytes += templates.randomElement(using: &generator) ?? []
        }
        for _ in 0..<Int.random(in: 0...5, using: &generator) {
            let place = Int.random(in: 0..<bytes.count, using: &generator)
            let end = min(bytes.count, place + Int.random(in: 0...12, using: &generator))
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
            case 1: bytes.replaceSubrange(place..<end, with: [])
            case 2: bytes.insert(contentsOf: pieces.randomElement(using: &generator) ?? [], at: place)
            default: bytes.insert(contentsOf: bytes[place..<end], at: place)
            }
            if bytes.isEmpty { bytes = [0] }
        }
        return bytes
    }

    @Test("Whatever comes is answered by the rules or ended, and nothing hangs", arguments: 0..<4)
    func fuzz(seed: Int) throws {
        // Requests that are not whole end with it.
        let bench = try EndpointBench { $0.idleTimeout = .milliseconds(10) }
        try bench.health.register(.asynchronous("slow", .ready) { await Task.yield() })
        var generator = SeededGenerator(seed: UInt64(seed))
        let known: Set<Int> = [100, 200, 400, 404, 405, 411, 413, 414, 417, 431, 501, 503, 505]
        for round in 0..<Scale.of(250) {
            let bytes = Self.requests(&generator)
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
