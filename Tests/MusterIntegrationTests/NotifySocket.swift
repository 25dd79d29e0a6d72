// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterLock
import MusterTestSupport

/// A service manager's socket for sd_notify(3), and what has come there.
final class NotifySocket: @unchecked Sendable {
    // Sound as `@unchecked Sendable`: what changes is behind `lock`.

    let path: String
    private let folder: TemporaryFolder
    private let descriptor: Int32
    private let lock = NSLock()
    private var received: [[String: String]] = []

    init() throws {
        folder = try TemporaryFolder()
        path = folder.path("notify")
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard code == 0 else { throw Program.Ended(description: "no socket at \(path): errno \(errno)") }
    }

    /// Each message's fields, in the order in which they came.
    var messages: [[String: String]] {
        lock.withLock {
            var bytes = [UInt8](repeating: 0, count: 65536)
            while true {
                let count = recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
                guard count > 0 else { return received }
                var fields: [String: String] = [:]
                for line in String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n") {
                    let halves = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                    fields[String(halves[0])] = halves.count == 2 ? String(halves[1]) : ""
                }
                received.append(fields)
            }
        }
    }

    /// Where the first message with a field is.
    func index(of field: String, after index: Int = -1) -> Int? {
        let halves = field.split(separator: "=").map(String.init)
        let messages = messages
        return messages.indices.first { $0 > index && messages[$0][halves[0]] == halves[1] }
    }

    deinit { close(descriptor) }
}
