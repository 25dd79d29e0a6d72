// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// Requests byte for byte, and what is to become of them with any server of this package (RFC 9112).
package enum HTTPConformance {
    /// Requests for a target that is there. Those that are not answered with 200 end their connection.
    package static func table(target: String) -> [(String, Int)] {
        let host = "Host: x\r\n"
        return [
            ("GET \(target) HTTP/1.1\r\n\(host)\r\n", 200), ("GET \(target) HTTP/1.0\r\n\r\n", 200),
            ("GET http://x\(target) HTTP/1.1\r\n\(host)\r\n", 200),
            ("GET HTTP://x:9917\(target) HTTP/1.1\r\n\(host)\r\n", 200),
            ("GET https://x\(target)?verbose HTTP/1.1\r\n\(host)\r\n", 200),
            ("GET livez HTTP/1.1\r\n\(host)\r\n", 400), ("GET * HTTP/1.1\r\n\(host)\r\n", 400),
            ("GET x:80 HTTP/1.1\r\n\(host)\r\n", 400), ("GET /metrics%00foo HTTP/1.1\r\n\(host)\r\n", 400),
            ("GET \(target)%00/../metrics HTTP/1.1\r\n\(host)\r\n", 400),
            ("GET \(target)?exclude=%00 HTTP/1.1\r\n\(host)\r\n", 400), ("GET \(target) HTTP/1.1\r\n\r\n", 400),
            ("GET \(target) HTTP/1.1\r\n\(host)\(host)\r\n", 400), ("GET \(target) HTTP/1.1\r\nHost : x\r\n\r\n", 400),
            ("GET \(target) HTTP/1.1\r\n\(host)Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello", 400),
            ("GET \(target) HTTP/1.1\r\n\(host)Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
            ("GET \(target) HTTP/1.1\r\n\(host)Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("GET \(target) HTTP/1.1\r\n\(host)Content-Length: abc\r\n\r\n", 400),
            ("GET \(target) HTTP/1.1\r\n\(host)Content-Length: -1\r\n\r\nx", 400),
            ("GET \(target) HTTP/1.1\r\n\(host)Content-Length: 5x\r\n\r\nhello", 400),
            ("GET \(target) HTTP/1.1\r\n\(host)Content-Length: 5, 5\r\n\r\nhello", 400),
            ("POST \(target) HTTP/1.1\r\n\(host)Content-Length: \r\n\r\n", 400),
            ("GET \(target) HTTP/1.0\r\nContent-Length: 0x5\r\n\r\nhello", 400),
            ("GET \(target) HTTP/1.1\r\n\(host)Content-Length: 99999999999999999999\r\n\r\n", 413),
        ]
    }

    /// Requests with bodies for a target that takes POST, as ``table(target:)``.
    package static func bodies(target: String) -> [(String, Int)] {
        let head = "POST \(target) HTTP/1.1\r\nHost: x\r\n"
        let chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
        return [
            (head + "Content-Length: 5\r\n\r\nhello", 200), (chunked + "5\r\nhello\r\n0\r\n\r\n", 200),
            (chunked + "5;a=b\r\nhello\r\n00\r\n\r\n", 200), (chunked + "0\r\n\r\n", 200),
            (head + "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200),
            (chunked + "5\r\nhelloX0\r\n\r\n", 400), (chunked + "-5\r\nhello\r\n0\r\n\r\n", 400),
            (chunked + "x\r\nhello\r\n0\r\n\r\n", 400), (chunked + "0x5\r\nhello\r\n0\r\n\r\n", 400),
            (chunked + "\r\nhello\r\n0\r\n\r\n", 400), (chunked + "5\r\nhello\r\n0\r\nX: y\r\n\r\n", 400),
            (chunked + "FFFFFFFFFFFFFFFFF\r\nhello", 413),
            (head + "Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 501),
            (head + "Transfer-Encoding: identity\r\n\r\nhello", 501),
            (head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("POST \(target) HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 400),
            ("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400), ("POST x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ]
    }
}

/// Requests that are changed at random.
package enum RequestFuzzer {
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
    package static func requests(_ generator: inout SplitMix64) -> [UInt8] {
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
}
