// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterLock

/// A listening socket, made by hand so that what goes wrong can be said exactly.
///
/// It is a value with a descriptor in it: nothing closes the descriptor but its owner.
public struct ListeningSocket: Sendable {
    /// The socket's descriptor, non-blocking and close-on-exec.
    public let descriptor: Int32
    /// The address with the port that the kernel chose.
    public let address: ListenAddress
    private var file: FileIdentity?

    /// Opens the socket.
    ///
    /// - Parameters:
    ///   - address: Where to listen.
    ///   - setting: What the address' setting is called, for error messages.
    ///   - backlog: How many connections may wait to be accepted; the kernel's `net.core.somaxconn` limits it, too.
    ///     An inherited socket keeps what its maker has chosen.
    ///   - mode: The permissions of a Unix socket's file; what the process' umask leaves when `nil`.
    /// - Throws: `ListenError`, which names the address, the setting and the remedy.
    package init(
        _ address: ListenAddress, setting: String, backlog: Int32 = 511, mode: UInt32? = nil
    ) throws(ListenError) {
        try self.init(address, setting: setting, backlog: backlog, mode: mode, activation: .current)
    }

    /// Opens the socket, given what systemd has handed over.
    package init(
        _ address: ListenAddress, setting: String, backlog: Int32 = 511, mode: UInt32? = nil,
        activation: @autoclosure () -> SocketActivation
    ) throws(ListenError) {
        switch address {
        case .tcp(let host, let port):
            descriptor = try Self.openTCP(host: host, port: port, backlog, address, setting)
            self.address = .tcp(host: host, port: Self.port(of: descriptor) ?? port)
        case .unix(let path):
            descriptor = try Self.openUnix(path, backlog, mode, setting)
            self.address = address
            file = try? FileIdentity(ofFileAt: path)
        case .descriptor(let number):
            descriptor = try Self.duplicate(number, setting)
            self.address = Self.name(of: descriptor) ?? address
            try claim(as: address, setting)
        case .systemd(let name):
            descriptor = try Self.duplicate(activation().descriptor(named: name, setting: setting), setting)
            self.address = Self.name(of: descriptor) ?? address
            try claim(as: address, setting)
        }
    }

    private init(descriptor: Int32, address: ListenAddress) {
        self.descriptor = descriptor
        self.address = address
    }

    /// The same socket under a descriptor of its own, which stays what it is when the original is retired.
    package func duplicate() throws(SystemError) -> ListeningSocket {
        let duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
        guard duplicate >= 0 else { throw SystemError("fcntl") }
        return ListeningSocket(descriptor: duplicate, address: address)
    }

    /// Stops listening; to be called once.
    package func closeDescriptor() {
        endClaim()
        close(descriptor)
    }

    /// Lets another server have an inherited socket.
    package func endClaim() {
        if let identity = try? FileIdentity(of: descriptor) { Self.claims.withLock { $0[identity] = nil } }
    }

    /// The inherited sockets in use, with the settings that have named them.
    private static let claims = Locked<[FileIdentity: String]>([:])

    /// Two servers at one inherited socket would take each other's connections, now one, now the other.
    private func claim(as inherited: ListenAddress, _ setting: String) throws(ListenError) {
        guard let identity = try? FileIdentity(of: descriptor) else { return }
        let other = Self.claims.withLock { claims -> String? in
            if let other = claims[identity], other != setting { return other }
            claims[identity] = setting
            return nil
        }
        guard let other else { return }
        close(descriptor)
        throw .taken(inherited, by: other, setting: setting)
    }

    /// Removes a Unix socket's file, unless another one stands in its place by now.
    package func unlinkFile() {
        guard case .unix(let path) = address, let file, (try? FileIdentity(ofFileAt: path)) == file else { return }
        unlink(path)
    }

    // MARK: TCP

    private static func openTCP(
        host: String, port: UInt16, _ backlog: Int32, _ address: ListenAddress, _ setting: String
    ) throws(ListenError) -> Int32 {
        var hints = addrinfo()
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_family = host.isEmpty ? AF_INET6 : AF_UNSPEC
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host.isEmpty ? nil : host, String(port), &hints, &list)
        guard code == 0 else {
            throw .unknownHost(host, reason: String(cString: gai_strerror(code)), setting: setting)
        }
        defer { freeaddrinfo(list) }
        var error = SystemError("getaddrinfo", code: EADDRNOTAVAIL)
        var next = list
        while let candidate = next {
            do {
                return try listen(at: candidate.pointee, backlog)
            } catch let failure {
                error = failure
            }
            next = candidate.pointee.ai_next
        }
        // Without IPv6 in the kernel "every address" is every IPv4 address.
        if host.isEmpty, error.code == EAFNOSUPPORT || error.code == EADDRNOTAVAIL {
            return try openTCP(host: "0.0.0.0", port: port, backlog, address, setting)
        }
        if error.code == EADDRINUSE { throw .addressInUse(address, setting: setting) }
        if error.code == EMFILE || error.code == ENFILE || error.code == ENOMEM { throw .noResources(error) }
        throw .cannotListen(address, error, setting: setting)
    }

    private static func listen(at candidate: addrinfo, _ backlog: Int32) throws(SystemError) -> Int32 {
        let descriptor = try open(candidate.ai_family)
        var on: Int32 = 1
        var off: Int32 = 0
        let size = socklen_t(MemoryLayout<Int32>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size)
        if candidate.ai_family == AF_INET6 {
            setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, size)
        }
        try bindAndListen(descriptor, candidate.ai_addr, candidate.ai_addrlen, backlog)
        return descriptor
    }

    // MARK: Unix sockets

    private static func openUnix(
        _ path: String, _ backlog: Int32, _ mode: UInt32?, _ setting: String
    ) throws(ListenError) -> Int32 {
        do {
            return try listen(atPath: path, backlog, mode)
        } catch  where error.code == EADDRINUSE {
            // The file may be left over from a process that has ended: try to connect.
            var information = stat()
            if lstat(path, &information) == 0, information.st_mode & S_IFMT != S_IFSOCK {
                throw .notASocket(path: path, setting: setting)
            }
            guard isAbandoned(path) else { throw .addressInUse(.unix(path: path), setting: setting) }
            unlink(path)
        } catch {
            throw .cannotListen(.unix(path: path), error, setting: setting)
        }
        do {
            return try listen(atPath: path, backlog, mode)
        } catch  where error.code == EADDRINUSE {
            throw .addressInUse(.unix(path: path), setting: setting)
        } catch {
            throw .cannotListen(.unix(path: path), error, setting: setting)
        }
    }

    private static func listen(
        atPath path: String, _ backlog: Int32, _ mode: UInt32?
    ) throws(SystemError) -> Int32 {
        let descriptor = try open(AF_UNIX)
        // The file gets the socket's permissions, so that at no time anybody else can connect.
        if let mode { _ = fchmod(descriptor, mode) }
        var failure: SystemError?
        UnixSocketAddress.with(path.utf8) { address, length in
            do throws(SystemError) {
                try bindAndListen(descriptor, address, length, backlog)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return descriptor
    }

    /// Whether no process listens at a socket's file any more.
    private static func isAbandoned(_ path: String) -> Bool {
        guard let descriptor = try? open(AF_UNIX) else { return false }
        defer { close(descriptor) }
        var code: Int32 = 0
        UnixSocketAddress.with(path.utf8) { address, length in
            if connect(descriptor, address, length) != 0 { code = errno }
        }
        return code == ECONNREFUSED
    }

    // MARK: Inherited sockets

    private static func duplicate(_ number: Int32, _ setting: String) throws(ListenError) -> Int32 {
        guard isListening(number), option(SO_TYPE, of: number) == Int32(SOCK_STREAM.rawValue) else {
            throw .notListening(descriptor: number, setting: setting)
        }
        let descriptor = fcntl(number, F_DUPFD_CLOEXEC, 3)
        guard descriptor >= 0 else { throw .noResources(SystemError("fcntl")) }
        // The flag belongs to the socket, so the other holders see it too; accepting must not block this one.
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        return descriptor
    }

    /// Whether a descriptor is a listening socket.
    package static func isListening(_ descriptor: Int32) -> Bool {
        option(SO_ACCEPTCONN, of: descriptor) == 1
    }

    private static func option(_ name: Int32, of descriptor: Int32) -> Int32? {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
    }

    // MARK: All of them

    private static func open(_ family: Int32) throws(SystemError) -> Int32 {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(family, type, 0)
        guard descriptor >= 0 else { throw SystemError("socket") }
        return descriptor
    }

    /// Closes the descriptor when it throws.
    private static func bindAndListen(
        _ descriptor: Int32, _ address: UnsafePointer<sockaddr>?, _ length: socklen_t, _ backlog: Int32
    ) throws(SystemError) {
        var error: SystemError?
        if bind(descriptor, address, length) != 0 {
            error = SystemError("bind")
        } else if Glibc.listen(descriptor, backlog) != 0 {
            error = SystemError("listen")
        }
        guard let error else { return }
        close(descriptor)
        throw error
    }

    private static func port(of descriptor: Int32) -> UInt16? {
        guard case .tcp(_, let port) = name(of: descriptor) else { return nil }
        return port
    }

    /// The address that a socket is bound to.
    private static func name(of descriptor: Int32) -> ListenAddress? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { pointer -> ListenAddress? in
            let isKnown = pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(descriptor, $0, &length) == 0
            }
            guard isKnown else { return nil }
            switch Int32(pointer.pointee.ss_family) {
            case AF_INET, AF_INET6:
                var host = [CChar](repeating: 0, count: 256)
                var port = [CChar](repeating: 0, count: 16)
                let code = pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    getnameinfo($0, length, &host, 256, &port, 16, NI_NUMERICHOST | NI_NUMERICSERV)
                }
                guard code == 0, let number = UInt16(text(port)) else { return nil }
                return .tcp(host: text(host), port: number)
            case AF_UNIX:
                let path = pointer.withMemoryRebound(to: sockaddr_un.self, capacity: 1) {
                    withUnsafeBytes(of: $0.pointee.sun_path) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
                }
                return path.isEmpty ? nil : .unix(path: path)
            default:
                return nil
            }
        }
    }

    private static func text(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
