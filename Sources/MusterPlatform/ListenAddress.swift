// SPDX-License-Identifier: Apache-2.0

/// Where a program listens.
public enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// A TCP port. An empty host means every address of the machine, in both versions of IP; port 0 means any free
    /// port.
    case tcp(host: String, port: UInt16)
    /// A Unix socket.
    case unix(path: String)
    /// A listening socket that somebody else has made and keeps. A duplicate is used, and only that is closed.
    case descriptor(Int32)
    /// A listening socket that systemd, or who does as systemd does, has handed over under a name: the
    /// `FileDescriptorName=` of its socket unit. A duplicate is used, and only that is closed.
    case systemd(name: String)

    /// Reads an address as people write it.
    ///
    /// - Parameter text: `127.0.0.1:9917`, `localhost:9917`, `[::1]:9917`, `:9917` or `*:9917` for every address,
    ///   `unix:/run/muster.sock`, `fd:3`, or `systemd:web`.
    /// - Throws: ``ListenError/invalidAddress(_:reason:)``.
    public init(parsing text: String) throws(ListenError) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst("unix:".count))
            if let problem = Self.problem(withPath: path) { throw .invalidAddress(text, reason: problem) }
            self = .unix(path: path)
            return
        }
        if text.hasPrefix("fd:") {
            guard let number = Int32(text.dropFirst("fd:".count)), number >= 0 else {
                throw .invalidAddress(text, reason: "after 'fd:' stands the number of a listening socket, as in 'fd:3'")
            }
            self = .descriptor(number)
            return
        }
        if text.hasPrefix("systemd:") {
            let name = String(text.dropFirst("systemd:".count))
            guard SocketActivation.isName(name) else {
                throw .invalidAddress(
                    text,
                    reason: """
                        after 'systemd:' stands the FileDescriptorName of a socket unit, as in 'systemd:web': 1 to 255 \
                        ASCII characters without control characters and ':'
                        """)
            }
            self = .systemd(name: name)
            return
        }
        guard let colon = text.lastIndex(of: ":") else {
            throw .invalidAddress(
                text, reason: "the port is missing, as in '\(text.isEmpty ? "127.0.0.1" : text):9917'")
        }
        let portText = text[text.index(after: colon)...]
        guard portText.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let port = UInt16(portText)
        else {
            throw .invalidAddress(text, reason: "'\(portText)' is no port; a port is a number from 0 to 65535")
        }
        self = .tcp(host: try Self.host(text[..<colon], of: text), port: port)
    }

    private static func host(_ text: Substring, of address: String) throws(ListenError) -> String {
        if text.isEmpty || text == "*" { return "" }
        if text.hasPrefix("[") {
            let inside = text.dropFirst().dropLast()
            guard text.hasSuffix("]"), inside.contains(":"), !inside.contains("[") && !inside.contains("]") else {
                throw .invalidAddress(
                    address, reason: "between brackets stands an IPv6 address, followed by the port, as in '[::1]:9917'"
                )
            }
            return String(inside)
        }
        if text.contains(":") {
            throw .invalidAddress(address, reason: "an IPv6 address stands in brackets, as in '[::1]:9917'")
        }
        let isPlausible = text.utf8.allSatisfy { byte in
            byte > UInt8(ascii: " ") && byte < 0x7F && byte != UInt8(ascii: "/") && byte != UInt8(ascii: "[")
                && byte != UInt8(ascii: "]") && byte != UInt8(ascii: "@")
        }
        guard isPlausible else { throw .invalidAddress(address, reason: "'\(text)' is no host name") }
        return String(text)
    }

    /// The longest path that fits the kernel's `sockaddr_un`.
    static let longestPath = 107

    /// What is wrong with a Unix socket's path, if anything.
    package static func problem(withPath path: String) -> String? {
        if path.isEmpty { return "after 'unix:' stands a path, as in 'unix:/run/muster.sock'" }
        if path.utf8.contains(0) { return "the path contains a NUL byte" }
        if path.utf8.count > longestPath {
            return
                "the path has \(path.utf8.count) bytes, and a Unix socket's has \(longestPath) at most; choose a shorter one"
        }
        return nil
    }

    /// The address as ``init(parsing:)`` reads it.
    public var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        case .descriptor(let number): "fd:\(number)"
        case .systemd(let name): "systemd:\(name)"
        }
    }

    /// How a client on the same machine reaches the address: a URL, or `unix:` and the path. `nil` for an inherited
    /// socket, and for port 0.
    public var url: String? {
        switch self {
        case .tcp(_, 0), .descriptor, .systemd: nil
        case .tcp("", let port), .tcp("0.0.0.0", let port): "http://127.0.0.1:\(port)"
        case .tcp("::", let port): "http://[::1]:\(port)"
        case .tcp(let host, let port): host.contains(":") ? "http://[\(host)]:\(port)" : "http://\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }
}
