// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// A listening socket of the test's own, as a service manager has for its services.
final class ListeningDescriptor: Sendable {
    let port: UInt16
    private let descriptor: Int32

    init() throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { [descriptor] pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 16) == 0
                    ? getsockname(descriptor, $0, &length) : -1
            }
        }
        guard code == 0 else { throw Program.Ended(description: "no listening socket: errno \(errno)") }
        port = UInt16(bigEndian: address.sin_port)
    }

    var handle: FileHandle { FileHandle(fileDescriptor: descriptor) }

    deinit { close(descriptor) }
}
