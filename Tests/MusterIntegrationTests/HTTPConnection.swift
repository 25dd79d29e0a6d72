// SPDX-License-Identifier: Apache-2.0

import Foundation

/// A connection to an HTTP server that stays open, and sends what it is told when it is told.
final class HTTPConnection: Sendable {
    private let descriptor: Int32

    /// Connects.
    ///
    /// - Throws: When nobody listens at the URL's host and port, among others.
    init(to url: String) throws {
        guard let parts = URLComponents(string: url), let host = parts.host, let port = parts.port else {
            throw Program.Ended(description: "no host and port in \(url)")
        }
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        address.sin_addr.s_addr = inet_addr(host)
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        // What throws here is taken down by `deinit` all the same.
        guard code == 0 else { throw Program.Ended(description: "cannot connect to \(url): errno \(errno)") }
    }

    deinit { close(descriptor) }

    func send(_ text: String) throws {
        let bytes = Array(text.utf8)
        guard Foundation.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw Program.Ended(description: "cannot send: errno \(errno)")
        }
    }

    /// Sends a request that does not ask for the connection to be closed, and waits for its answer.
    func get(_ path: String) async throws -> HTTPAnswer {
        try send("GET \(path) HTTP/1.1\r\nHost: test\r\n\r\n")
        return try await answer()
    }

    /// Waits for a whole answer with a `Content-Length`.
    func answer() async throws -> HTTPAnswer {
        try await onThread { [self] in
            var received = Data()
            while true {
                if let answer = try? HTTPAnswer(received),
                    let length = answer.headers["content-length"].flatMap(Int.init),
                    answer.body.utf8.count >= length
                {
                    return answer
                }
                guard let more = try receive() else {
                    throw Program.Ended(description: "the connection ended after \(received.count) bytes")
                }
                received.append(more)
            }
        }
    }

    /// Waits until the server closes its end, and returns what it has sent before that.
    func end() async throws -> String {
        try await onThread { [self] in
            var received = Data()
            while let more = try receive() { received.append(more) }
            return String(decoding: received, as: UTF8.self)
        }
    }

    private func receive() throws -> Data? {
        var chunk = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count >= 0 else { throw Program.Ended(description: "nothing received: errno \(errno)") }
        return count == 0 ? nil : Data(chunk[..<count])
    }
}
