// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Where systemd listens for messages: a path, or with `@` in front a name in the abstract namespace.
struct SystemdAddress: Hashable, Sendable {
    /// The bytes of `sun_path`; an abstract name begins with a zero byte.
    let path: [UInt8]

    /// Reads the value of `NOTIFY_SOCKET`.
    ///
    /// - Parameter text: The value; `nil` is returned for one that is no address of a Unix socket.
    init?(_ text: String) {
        var path = Array(text.utf8)
        // A path needs a zero byte behind it; an abstract name ends with the address' length.
        let room = MemoryLayout.size(ofValue: sockaddr_un().sun_path)
        guard let first = path.first, !path.contains(0) else { return nil }
        switch first {
        case UInt8(ascii: "/") where path.count < room: break
        case UInt8(ascii: "@") where path.count > 1 && path.count <= room: path[0] = 0
        default: return nil
        }
        self.path = path
    }

    /// Hands out the address as the kernel wants it.
    func withSocketAddress<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        let start = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? MemoryLayout<sa_family_t>.size
        // The zero byte behind a path counts; one behind an abstract name would be part of it.
        let length = start + path.count + (path.first == 0 ? 0 : 1)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(length)) }
        }
    }
}
