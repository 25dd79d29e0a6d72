// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import Testing

/// A datagram socket that listens in systemd's place.
///
/// Datagrams between Unix sockets are delivered by the call that sends them, so that nobody has to wait for one.
final class NotifySocket {
    private let descriptor: OwnedDescriptor
    private let folder: String?
    /// What `NOTIFY_SOCKET` would be.
    let name: String

    init(isAbstract: Bool) throws {
        var template = Array("/tmp/muster-notify-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let folder = String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self)
        if isAbstract {
            rmdir(folder)
            self.folder = nil
            name = "@" + folder
        } else {
            self.folder = folder
            name = folder + "/notify"
        }
        descriptor = OwnedDescriptor(
            socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var path = Array(name.utf8)
        if isAbstract { path[0] = 0 }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + path.count)
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor.rawValue, $0, length) }
        }
        try #require(code == 0)
    }

    deinit {
        if let folder {
            unlink(name)
            rmdir(folder)
        }
    }

    /// The next message; `nil` when none comes in time.
    func receive(within limit: Duration) -> String? {
        var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, Int32(limit.components.seconds * 1000)) == 1 else { return nil }
        return receive()
    }

    /// The next message; `nil` when there is none.
    func receive() -> String? {
        var buffer = [UInt8](repeating: 0, count: 8192)
        let count = recv(descriptor.rawValue, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        return count >= 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }
}
