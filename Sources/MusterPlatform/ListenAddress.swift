// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Where a program listens.
public enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// A TCP port. An empty host means every address of the machine, in both versions of IP; port 0 means any free
    /// port.
    case tcp(host: String, port: UInt16)
    /// A Unix socket.
    case unix(path: String)
    /// A listening socket that another part of the program owns. A duplicate is used, and only that is closed.
    case descriptor(Int32)
    /// A listening socket that systemd, or a program that follows its protocol, has handed over under a name: the
    /// `FileDescriptorName=` of its socket unit. A duplicate is used, and only that is closed.
    case systemd(name: String)

    /// Parses an address.
    ///
    /// - Parameter text: `127.0.0.1:9917`, `localhost:9917`, `[::1]:9917`, `:9917` or `*:9917` for every address,
    ///   `unix:/run/muster.sock`, `fd:3`, or `systemd:web`.
    /// - Throws: `ListenError/invalidAddress(_:reason:)`.
    public init(parsing text: String) throws {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst("unix:".count))
            if let problem = Self.problem(withPath: path) { throw ListenError.invalidAddress(text, reason: problem) }
            self = .unix(path: path)
            return
        }
        if text.hasPrefix("fd:") {
            guard let number = Int32(text.dropFirst("fd:".count)), number >= 0 else {
                throw ListenError.invalidAddress(
                    text, reason: "'fd:' must be followed by the number of a listening socket, as in 'fd:3'")
            }
            self = .descriptor(number)
            return
        }
        if text.hasPrefix("systemd:") {
            let name = String(text.dropFirst("systemd:".count))
            guard SocketActivation.isName(name) else {
                throw ListenError.invalidAddress(
                    text,
                    reason: """
                        'systemd:' must be followed by the FileDescriptorName of a socket unit, as in 'systemd:web': 1 to 255 \
                        ASCII characters without control characters and ':'
                        """)
            }
            self = .systemd(name: name)
            return
        }
        guard let colon = text.lastIndex(of: ":") else {
            throw ListenError.invalidAddress(
                text, reason: "the port is missing, as in '\(text.isEmpty ? "127.0.0.1" : text):9917'")
        }
        let portText = text[text.index(after: colon)...]
        guard portText.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let port = UInt16(portText)
        else {
            throw ListenError.invalidAddress(
                text, reason: "'\(portText)' is not a port; a port is a number from 0 to 65535")
        }
        self = .tcp(host: try Self.host(text[..<colon], of: text), port: port)
    }

    private static func host(_ text: Substring, of address: String) throws(ListenError) -> String {
        if text.isEmpty || text == "*" { return "" }
        if text.hasPrefix("[") {
            let inside = text.dropFirst().dropLast()
            guard text.hasSuffix("]"), inside.contains(":"), !inside.contains("[") && !inside.contains("]") else {
                throw .invalidAddress(
                    address,
                    reason: "brackets must enclose an IPv6 address and be followed by the port, as in '[::1]:9917'"
                )
            }
            return String(inside)
        }
        if text.contains(":") {
            throw .invalidAddress(address, reason: "an IPv6 address must be in brackets, as in '[::1]:9917'")
        }
        let isPlausible = text.utf8.allSatisfy { byte in
            byte > UInt8(ascii: " ") && byte < 0x7F && byte != UInt8(ascii: "/") && byte != UInt8(ascii: "[")
                && byte != UInt8(ascii: "]") && byte != UInt8(ascii: "@")
        }
        guard isPlausible else { throw .invalidAddress(address, reason: "'\(text)' is not a host name") }
        return String(text)
    }

    /// The longest path that fits the kernel's `sockaddr_un`.
    private static let longestPath = UnixSocketAddress.capacity - 1

    /// What is wrong with a Unix socket's path, if anything.
    package static func problem(withPath path: String) -> String? {
        if path.isEmpty { return "'unix:' must be followed by a path, as in 'unix:/run/muster.sock'" }
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
    package var url: String? {
        switch self {
        case .tcp(_, 0), .descriptor, .systemd: nil
        case .tcp("", let port), .tcp("0.0.0.0", let port): "http://127.0.0.1:\(port)"
        case .tcp("::", let port): "http://[::1]:\(port)"
        case .tcp(let host, let port): host.contains(":") ? "http://[\(host)]:\(port)" : "http://\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }
}

/// Why a program cannot listen at an address.
package enum ListenError: Error, Hashable, Sendable, CustomStringConvertible {
    /// An address cannot be read.
    case invalidAddress(String, reason: String)
    /// Another socket listens at the address already. `setting` names what to change.
    case addressInUse(ListenAddress, setting: String)
    /// A host has no address here. `setting` names what to change.
    case unknownHost(String, reason: String, setting: String)
    /// A path is taken by a file that is not a socket. `setting` names what to change.
    case notASocket(path: String, setting: String)
    /// An inherited descriptor is not a listening stream socket. `setting` names what to change.
    case notListening(descriptor: Int32, setting: String)
    /// The inherited socket is used already, for another purpose, which has been set by `by`.
    case taken(ListenAddress, by: String, setting: String)
    /// systemd has handed over no socket of this name. `given` are the names there are, `setting` what to change.
    case notGiven(name: String, given: [String], setting: String)
    /// systemd has handed over several sockets of this name. `setting` names what to change.
    case ambiguousName(String, descriptors: [Int32], setting: String)
    /// The kernel does not let the program listen at the address. `setting` names what to change.
    case cannotListen(ListenAddress, SystemError, setting: String)
    /// The system gives no descriptor or memory.
    case noResources(SystemError)

    package var description: String {
        switch self {
        case .invalidAddress(let address, let reason):
            "'\(address)' is not an address to listen at: \(reason)"
        case .addressInUse(.unix(let path), let setting):
            """
            cannot listen at unix:\(path): a running process listens there already; stop it, or set \(setting) to \
            another path
            """
        case .addressInUse(let address, let setting):
            """
            cannot listen at \(address): the port is in use by another socket; stop its owner (`ss -ltnp` shows it), \
            or set \(setting) to another port (0 takes any free one)
            """
        case .unknownHost(let host, let reason, let setting):
            """
            cannot listen at '\(host)': \(reason); set \(setting) to an address of this machine, for example 127.0.0.1
            """
        case .notASocket(let path, let setting):
            """
            cannot listen at unix:\(path): the file there is not a socket; remove it, or \
            set \(setting) to another path
            """
        case .notListening(let descriptor, let setting):
            """
            cannot use descriptor \(descriptor): it is not a listening stream socket; check what hands it over, or set \
            \(setting) to an address
            """
        case .taken(let address, let other, let setting):
            "cannot listen at \(address): \(other) has named the same socket; set \(setting) to another one"
        case .notGiven(let name, let given, let setting):
            """
            cannot listen at systemd:\(name): \(Self.list(given)); set FileDescriptorName=\(name) in the socket unit, \
            or set \(setting) to another address
            """
        case .ambiguousName(let name, let descriptors, let setting):
            """
            cannot listen at systemd:\(name): \(descriptors.count) sockets of that name were handed over; give each a \
            unit and a FileDescriptorName of its own, or set \(setting) to one of \
            \(descriptors.map { "fd:\($0)" }.joined(separator: ", "))
            """
        case .cannotListen(let address, let error, let setting):
            "cannot listen at \(address): \(error); \(Self.remedy(for: error, at: address, setting))"
        case .noResources(let error):
            "cannot listen: \(error); the system has no descriptor or memory left for it"
        }
    }

    private static func list(_ names: [String]) -> String {
        if names.isEmpty { return "systemd has handed over no sockets to this process" }
        return "the sockets handed over are named " + names.map { "'\($0)'" }.joined(separator: ", ")
    }

    private static func remedy(for error: SystemError, at address: ListenAddress, _ setting: String) -> String {
        switch (error.code, address) {
        case (EPERM, .tcp(_, let port)) where port < 1024, (EACCES, .tcp(_, let port)) where port < 1024:
            "ports below 1024 need a privilege; set \(setting) to a higher port"
        case (EADDRNOTAVAIL, _):
            "no network interface of this machine has that address; set \(setting) to one that it has"
        case (EAFNOSUPPORT, _):
            "this machine does not support that protocol; set \(setting) to an address of another one"
        case (ENOENT, .unix):
            "create the directory first, or set \(setting) to a path in one that exists"
        case (EACCES, .unix), (EPERM, .unix), (EROFS, .unix):
            "make the directory writable for this process, or set \(setting) to a path in one that is"
        default:
            "set \(setting) to another address"
        }
    }
}
