// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// A connection to an HTTP server that stays open, and sends what it is told when it is told.
final class HTTPConnection: Sendable {
    private let connection: Connection

    /// Connects.
    ///
    /// - Throws: When nobody listens at the URL's host and port, among others.
    init(to url: String) throws {
        guard let parts = URLComponents(string: url), let host = parts.host, let port = parts.port else {
            throw Program.Ended(description: "no host and port in \(url)")
        }
        connection = try Connection(host: host, port: port)
    }

    func send(_ text: String) throws {
        try connection.send(text)
    }

    /// Sends a request that does not ask for the connection to be closed, and waits for its answer.
    func get(_ path: String) async throws -> HTTPAnswer {
        try send("GET \(path) HTTP/1.1\r\nHost: test\r\n\r\n")
        return try await answer()
    }

    /// Waits for a whole answer with a `Content-Length`.
    func answer() async throws -> HTTPAnswer {
        try await onThread { [connection] in
            var received = Data()
            while true {
                if let answer = try? HTTPAnswer(received),
                    let length = answer.headers["content-length"].flatMap(Int.init),
                    answer.body.utf8.count >= length
                {
                    return answer
                }
                guard let more = try connection.receive() else {
                    throw Program.Ended(description: "the connection ended after \(received.count) bytes")
                }
                received.append(more)
            }
        }
    }

    /// Waits until the server closes its end, and returns what it has sent before that.
    func end() async throws -> String {
        try await onThread { [connection] in String(decoding: try connection.receiveAll(), as: UTF8.self) }
    }
}
