// SPDX-License-Identifier: Apache-2.0

import CMuster
import FoundationEssentials
import Glibc
import MusterPlatform

/// Where a console listens.
package enum ConsolePlace: Hashable, Sendable, CustomStringConvertible {
    /// A Unix socket; `{pid}` and `{slot}` in its path stand for the process' and the worker's own.
    case socket(path: String)
    /// The first free of these ports on the loopback interface; port 0 for any.
    case ports(ClosedRange<UInt16>)

    package static let key = "muster.console"
    /// What `{slot}` stands for in a supervisor and in a program of one process.
    static let mainSlot = "main"

    /// Reads a place. The error is what was expected instead.
    package init(parsing text: String) throws(ConsolePlaceError) {
        let path = text.hasPrefix("unix:") ? String(text.dropFirst("unix:".count)) : text
        if path.contains("/") {
            self = .socket(path: path)
            return
        }
        let ends = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map { text in
            text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } ? UInt16(text) : nil
        }
        guard let first = ends.first ?? nil, let last = ends.last ?? nil else {
            throw ConsolePlaceError(
                "a path with a slash, such as /run/mailer/console.sock, a port from 0 to 65535, or a range of ports such as 9918:9928"
            )
        }
        guard first <= last else { throw ConsolePlaceError("a range whose first port is not above its last one") }
        guard ends.count == 1 || first > 0 else { throw ConsolePlaceError("a range of ports above 0") }
        self = .ports(first...last)
    }

    /// The place as ``init(parsing:)`` reads it.
    package var description: String {
        switch self {
        case .socket(let path): path
        case .ports(let range):
            range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound):\(range.upperBound)"
        }
    }

    /// Whether each worker has a console of its own.
    var isForEachWorker: Bool {
        if case .socket(let path) = self { Self.isSound(path) && path.contains("{slot}") } else { false }
    }

    // MARK: Templates

    private static func isSound(_ template: String) -> Bool {
        let rest = template.replacing("{pid}", with: "").replacing("{slot}", with: "")
        return !rest.contains("{") && !rest.contains("}")
    }

    /// The path that a template stands for; one with other braces stands for itself, and is no good one.
    static func path(_ template: String, pid: Int32, slot: String) -> (path: String, isSound: Bool) {
        guard isSound(template) else { return (template, false) }
        let slot = slot.replacing("/", with: "_")
        return (template.replacing("{pid}", with: "\(pid)").replacing("{slot}", with: slot), true)
    }

    // MARK: Listening

    /// Opens the socket.
    ///
    /// - Parameters:
    ///   - slot: What `{slot}` stands for.
    ///   - mayReplace: Whether the living process of a number may lose its place.
    ///   - warn: Called with what is wrong with a template.
    /// - Throws: `ListenError`, which names the address, the setting and the remedy.
    func open(
        slot: String = mainSlot, mayReplace: (Int32) -> Bool = { _ in false }, warn: (String) -> Void
    ) throws(ListenError) -> ListeningSocket {
        let setting = Setting.spellings(of: Self.key)
        switch self {
        case .socket(let template):
            let (path, isSound) = Self.path(template, pid: getpid(), slot: slot)
            if !isSound { warn("only {pid} and {slot} may be in braces; using the path as it is") }
            if let problem = ListenAddress.problem(withPath: path) {
                throw .invalidAddress(path, reason: "\(problem); set \(setting) to another path")
            }
            do throws(ListenError) {
                return try Self.listen(path, setting)
            } catch {
                guard case .addressInUse = error, let owner = Self.owner(of: path), mayReplace(owner) else {
                    throw error
                }
                unlink(path)
                return try Self.listen(path, setting)
            }
        case .ports(let range):
            var failure: ListenError?
            for port in range {
                do throws(ListenError) {
                    return try ListeningSocket(.tcp(host: Self.host, port: port), setting: setting, backlog: 64)
                } catch {
                    guard case .addressInUse = error else { throw error }
                    failure = error
                }
            }
            throw failure ?? .invalidAddress("\(self)", reason: "there is no port in it")
        }
    }

    private static let host = "127.0.0.1"

    private static func listen(_ path: String, _ setting: String) throws(ListenError) -> ListeningSocket {
        try ListeningSocket(.unix(path: path), setting: setting, backlog: 64, mode: 0o600)
    }

    /// The process that listens at a path.
    private static func owner(of path: String) -> Int32? {
        guard let connection = try? connect(.unix(path: path)) else { return nil }
        var (pid, uid): (Int32, UInt32) = (0, 0)
        return cmuster_peer_credentials(connection.rawValue, &pid, &uid) == 0 && pid > 0 ? pid : nil
    }

    // MARK: Connecting

    /// Connects to the console of a place.
    ///
    /// A template's `{pid}` is looked for among the files of the folder; `{slot}` is the main one. Of a range of ports, the
    /// console has the one that was free first: what listens at one before it is something else.
    ///
    /// - Parameters:
    ///   - limit: How long a program that accepts nothing is waited for.
    ///   - interruption: A descriptor that ends the waiting when it is readable.
    func connect(
        within limit: Duration = patience, interruptedBy interruption: Int32? = nil
    ) throws(ConsoleClientError) -> OwnedDescriptor {
        let place: String
        let candidates: [(name: String, address: ListenAddress)]
        switch self {
        case .ports(0...0): throw .unknownPort
        case .ports(let range):
            place = "\(Self.host):\(self)"
            candidates = range.map { ("\($0)", .tcp(host: Self.host, port: $0)) }
        case .socket(let template):
            candidates = Self.paths(template).map { ($0, .unix(path: $0)) }
            place = candidates.first?.name ?? template
        }
        var living: [(name: String, connection: OwnedDescriptor)] = []
        var failure = SystemError("connect", code: ENOENT)
        for (name, address) in candidates {
            do throws(SystemError) {
                living.append((name, try Self.connect(address, within: limit, interruptedBy: interruption)))
            } catch {
                if error.code == EINTR { throw .interrupted }
                // That nobody listens at one place says less than any other reason.
                if [ENOENT, ECONNREFUSED].contains(failure.code) { failure = error }
            }
        }
        guard let first = living.first else { throw .cannotConnect(place, failure) }
        guard living.count == 1 else { throw .ambiguous(living.map(\.name)) }
        return first.connection
    }

    static let patience = Duration.seconds(10)

    /// The paths that a template may stand for, whatever the process' number is.
    static func paths(_ template: String) -> [String] {
        let (path, isSound) = path(template, pid: 0, slot: mainSlot)
        guard isSound, template.contains("{pid}") else { return [path] }
        let pattern = template.replacing("{slot}", with: mainSlot)
        // In the name alone: nobody makes a folder for each process.
        guard let slash = pattern.lastIndex(of: "/") else { return [] }
        let folder = String(pattern[..<slash])
        let parts = pattern[pattern.index(after: slash)...].split(
            separator: "{pid}", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[1].contains("{pid}") else { return [] }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.isEmpty ? "/" : folder)) ?? []
        return names.sorted().filter { name in
            guard name.hasPrefix(parts[0]), name.hasSuffix(parts[1]),
                name.utf8.count > parts[0].utf8.count + parts[1].utf8.count
            else { return false }
            return name.dropFirst(parts[0].count).dropLast(parts[1].count).allSatisfy { $0.isASCII && $0.isNumber }
        }.map { "\(folder)/\($0)" }
    }

    private static func connect(
        _ address: ListenAddress, within limit: Duration = patience, interruptedBy interruption: Int32? = nil
    ) throws(SystemError) -> OwnedDescriptor {
        var isUnix = false
        if case .unix = address { isUnix = true }
        let number = Glibc.socket(
            isUnix ? AF_UNIX : AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw SystemError("socket") }
        let connection = OwnedDescriptor(number)
        // A program that is stopped accepts nothing: once its queue is full, connecting would wait without end.
        connection.setTimeout(limit, SO_SNDTIMEO)
        var wait = [pollfd(fd: interruption ?? -1, events: Int16(POLLIN), revents: 0)]
        while true {
            let code: Int32
            switch address {
            case .unix(let path): code = UnixSocketAddress.with(path.utf8) { Glibc.connect(number, $0, $1) }
            case .tcp(_, let port):
                var address = sockaddr_in()
                address.sin_family = sa_family_t(AF_INET)
                address.sin_port = port.bigEndian
                address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
                code = withUnsafePointer(to: &address) { pointer in
                    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        Glibc.connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                    }
                }
            case .descriptor, .systemd: throw SystemError("connect", code: EAFNOSUPPORT)
            }
            if code == 0 { return connection }
            let error = SystemError("connect")
            // With a time limit, any signal ends the waiting.
            guard error.code == EINTR, poll(&wait, 1, 0) <= 0 else { throw error }
        }
    }
}

extension OwnedDescriptor {
    /// Limits how long a socket waits to send or to receive.
    func setTimeout(_ timeout: Duration, _ options: Int32...) {
        let microseconds = max(1, timeout.clampedNanoseconds / 1000)
        var limit = timeval(tv_sec: Int(microseconds / 1_000_000), tv_usec: Int(microseconds % 1_000_000))
        for option in options {
            setsockopt(rawValue, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }
}

/// Text that names no place for a console.
package struct ConsolePlaceError: Error, Hashable, Sendable {
    /// What was expected.
    package let expected: String

    fileprivate init(_ expected: String) {
        self.expected = expected
    }
}

/// Who has connected to a console.
struct ConsolePeer: Hashable, Sendable {
    var uid: UInt32
    /// `nil` over TCP, and for a process that is in no namespace of this one's.
    var pid: Int32?

    /// Finds out who is at the other end; `nil` where the kernel does not tell.
    init?(of connection: Int32, isUnix: Bool) {
        if isUnix {
            var (pid, uid): (Int32, UInt32) = (0, 0)
            guard cmuster_peer_credentials(connection, &pid, &uid) == 0 else { return nil }
            self.uid = uid
            self.pid = pid > 0 ? pid : nil
            return
        }
        guard let ours = Self.address(of: connection, getsockname),
            let theirs = Self.address(of: connection, getpeername)
        else { return nil }
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].lazy.compactMap {
            SmallFile.beginning(of: $0, limit: 16 << 20)
        }
        guard let uid = tables.compactMap({ Self.uid(in: $0, from: theirs, to: ours) }).first else { return nil }
        self.uid = uid
        pid = nil
    }

    /// Whether it may use a console of a user's process.
    ///
    /// The overflow user may be any that this namespace has no number for; at a Unix socket, the mode of its file has kept
    /// those away.
    func isAdmitted(by user: UInt32 = geteuid()) -> Bool {
        uid == 0 || uid == user && (pid != nil || uid != Self.overflowUser)
    }

    static let overflowUser =
        SmallFile.beginning(of: "/proc/sys/kernel/overflowuid", limit: 16).flatMap { UInt32($0.filter(\.isNumber)) }
        ?? 65534

    /// The owner of a connection's other end, by the kernel's table: an established socket that a process has open, also
    /// when it sends nothing more. Of all others the table does not have the owner.
    ///
    /// - Parameter addresses: As the table spells them, of IPv4.
    static func uid(in table: String, from theirs: String, to ours: String) -> UInt32? {
        for line in table.utf8.split(separator: UInt8(ascii: "\n")).dropFirst() {
            let words = line.split(separator: UInt8(ascii: " "), maxSplits: 10)
            // Few of many lines are made into text.
            guard words.count > 9, words[1].suffix(theirs.utf8.count).elementsEqual(theirs.utf8) else { continue }
            let fields = words.map { String(Substring($0)) }
            guard fields[2].hasSuffix(ours), ["01", "04", "05"].contains(fields[3]), fields[9] != "0" else { continue }
            return UInt32(fields[7])
        }
        return nil
    }

    private static func address(
        of connection: Int32,
        _ read: (Int32, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<socklen_t>?) -> Int32
    ) -> String? {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { read(connection, $0, &length) }
        }
        guard code == 0, address.sin_family == sa_family_t(AF_INET) else { return nil }
        func hexadecimal(_ number: some FixedWidthInteger, _ digits: Int) -> String {
            let text = String(number, radix: 16, uppercase: true)
            return String(repeating: "0", count: digits - text.count) + text
        }
        return hexadecimal(address.sin_addr.s_addr, 8) + ":" + hexadecimal(UInt16(bigEndian: address.sin_port), 4)
    }
}
