// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import MusterEndpoint

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
}

extension String {
    fileprivate func components(of separator: String) -> [Substring] {
        split(separator: separator, omittingEmptySubsequences: false)
    }
}
