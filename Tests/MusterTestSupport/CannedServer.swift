// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterLock

/// A server that gives everybody the same answer, and keeps what it was asked.
///
/// Sound as `@unchecked Sendable`: what changes is behind `lock`.
package final class CannedServer: @unchecked Sendable {
    private let descriptor: Int32
    private let answer: Data?
    private let lock = NSLock()
    private var received: [String] = []

    package let port: UInt16

    /// Listens at a free port of the loopback interface.
    ///
    /// - Parameter answer: What it sends once a request has come; when `nil`, nothing, and the connection stays open.
    package init(_ answer: String?) throws {
        self.answer = answer.map { Data($0.utf8) }
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 16) == 0
                    ? getsockname(descriptor, $0, &length) : -1
            }
        }
        guard code == 0 else { throw Program.Ended(description: "cannot listen: errno \(errno)") }
        port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread { [weak self] in
            while true {
                let connection = accept(descriptor, nil, nil)
                guard connection >= 0 else { return }
                guard let self else {
                    close(connection)
                    return
                }
                self.serve(connection)
            }
        }
    }

    /// An HTTP answer with a body.
    package convenience init(status: String, headers: [String] = [], body: String) throws {
        let head = ["HTTP/1.1 \(status)", "Content-Length: \(body.utf8.count)", "Connection: close"] + headers
        try self.init(head.joined(separator: "\r\n") + "\r\n\r\n" + body)
    }

    private func serve(_ connection: Int32) {
        var chunk = [UInt8](repeating: 0, count: 16384)
        let count = recv(connection, &chunk, chunk.count, 0)
        lock.withLock { received.append(String(decoding: chunk.prefix(max(0, count)), as: UTF8.self)) }
        // Without an answer it stays open, as long as this process.
        guard let answer else { return }
        _ = answer.withUnsafeBytes { send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        close(connection)
    }

    /// What it was asked.
    package var requests: [String] { lock.withLock { received } }

    package var url: String { "http://127.0.0.1:\(port)" }

    deinit {
        // Wakes the thread, which closing alone does not.
        shutdown(descriptor, Int32(SHUT_RDWR))
        close(descriptor)
    }
}
