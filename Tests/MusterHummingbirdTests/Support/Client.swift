// SPDX-License-Identifier: Apache-2.0

#if Hummingbird
import Foundation
import MusterTestSupport

/// A connection to an HTTP server that stays open, with a thread of its own at each wait.
final class Client: Sendable {
    private let connection: Connection

    init(port: Int) throws {
        connection = try Connection(host: "127.0.0.1", port: port)
    }

    func send(_ text: String) throws {
        try connection.send(text)
    }

    func get(_ path: String) async throws -> HTTPAnswer {
        try await onThread { [self] in try getBlocking(path) }
    }

    func getBlocking(_ path: String, headers: String = "") throws -> HTTPAnswer {
        try send("GET \(path) HTTP/1.1\r\nHost: test\r\n\(headers)\r\n")
        return try answerBlocking()
    }

    /// Waits for a whole answer, with a `Content-Length` or without a body.
    func answer() async throws -> HTTPAnswer {
        try await onThread { [self] in try answerBlocking() }
    }

    private func answerBlocking() throws -> HTTPAnswer {
        var received = Data()
        while true {
            if let answer = try? HTTPAnswer(received) {
                let length = answer.headers["content-length"].flatMap(Int.init) ?? 0
                if answer.body.utf8.count >= length { return answer }
            }
            guard let more = try connection.receive() else {
                throw Program.Ended(description: "the connection ended after \(received.count) bytes")
            }
            received.append(more)
        }
    }

    /// Waits until the server closes its end, and returns what it has sent before that.
    func end() async throws -> String {
        try await onThread { [connection] in String(decoding: try connection.receiveAll(), as: UTF8.self) }
    }
}
#endif
