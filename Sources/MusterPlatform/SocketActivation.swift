// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The sockets that systemd, or a program that follows its protocol, has opened for this process before it started.
///
/// The protocol is that of `sd_listen_fds(3)`: the sockets are the descriptors from 3 on, `LISTEN_FDS` says how many,
/// `LISTEN_PID` for which process, and `LISTEN_FDNAMES` what each is called. A process that merely inherited the
/// variables, as a child does, is given nothing.
package struct SocketActivation: Sendable {
    /// One socket.
    package struct Socket: Hashable, Sendable {
        /// What the socket unit calls it: `FileDescriptorName=`, or the unit's own name.
        package let name: String
        /// The descriptor's number.
        package let descriptor: Int32
    }

    /// The sockets in the order in which they were handed over.
    package let sockets: [Socket]

    /// What this process has been given. Read once; the descriptors are closed for programs that this one starts.
    package static let current: SocketActivation = {
        let activation = SocketActivation(
            environment: { name in getenv(name).map { String(cString: $0) } }, process: getpid())
        for socket in activation.sockets {
            let flags = fcntl(socket.descriptor, F_GETFD)
            if flags >= 0 { _ = fcntl(socket.descriptor, F_SETFD, flags | FD_CLOEXEC) }
        }
        return activation
    }()

    /// Reads what was handed over; changes nothing.
    package init(environment: (String) -> String?, process: Int32) {
        guard environment("LISTEN_PID").flatMap({ Int32($0) }) == process,
            let count = environment("LISTEN_FDS").flatMap({ Int32($0) }), (1...Self.largestCount).contains(count)
        else {
            sockets = []
            return
        }
        let names = environment("LISTEN_FDNAMES")?.split(separator: ":", omittingEmptySubsequences: false) ?? []
        sockets = (0..<count).map { index in
            let name = names.indices.contains(Int(index)) ? String(names[Int(index)]) : Self.unnamed
            return Socket(name: name, descriptor: Self.firstDescriptor + index)
        }
    }

    private static let firstDescriptor: Int32 = 3
    /// The name that systemd's own library gives to an unnamed socket.
    private static let unnamed = "unknown"
    /// A larger count exceeds what the kernel allows, so it must be a mistake.
    private static let largestCount: Int32 = 1 << 20

    /// The names of the sockets, each once.
    package var names: [String] {
        var seen: Set<String> = []
        return sockets.map(\.name).filter { seen.insert($0).inserted }
    }

    /// The descriptor of the one socket of a name.
    func descriptor(named name: String, setting: String) throws(ListenError) -> Int32 {
        let matching = sockets.filter { $0.name == name }.map(\.descriptor)
        guard let first = matching.first else { throw .notGiven(name: name, given: names, setting: setting) }
        guard matching.count == 1 else { throw .ambiguousName(name, descriptors: matching, setting: setting) }
        return first
    }

    /// Whether systemd takes a text as a name.
    static func isName(_ text: String) -> Bool {
        (1...255).contains(text.utf8.count)
            && text.utf8.allSatisfy { $0 >= UInt8(ascii: " ") && $0 < 0x7F && $0 != UInt8(ascii: ":") }
    }
}
