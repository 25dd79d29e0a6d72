// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
package import MusterPlatform

/// What a supervisor tells a process that it has started as its worker: an environment variable with the numbers of
/// the descriptors that go with it.
package struct WorkerMarker: Hashable, Sendable {
    /// The environment variable's name.
    package static let variable = "MUSTER_WORKER"

    /// A listening socket that the supervisor has opened.
    package struct Socket: Hashable, Sendable {
        package var name: String
        package var descriptor: Int32

        package init(name: String, descriptor: Int32) {
            self.name = name
            self.descriptor = descriptor
        }
    }

    /// The number of the launched service.
    package var group: Int
    /// Its name.
    package var name: String
    /// The slot that the process fills; `nil` for a spare.
    package var slot: Int?
    /// The process' serial number.
    package var incarnation: Int
    /// The supervisor's process number.
    package var supervisor: Int32
    /// The inode of the worker's end of the control channel: what proves that the descriptors are meant.
    package var controlInode: UInt64
    package var arena: Int32
    /// The inode of the arena's file, for `MetricRegistry.shared`, which looks for the arena by itself.
    package var arenaInode: UInt64
    package var vitalSigns: Int32
    package var control: Int32
    package var sockets: [Socket]
    /// The settings that the supervisor has loaded and accepted; `nil` when it has loaded none.
    package var settings: WorkerSettings?

    package init(
        group: Int, name: String, slot: Int?, incarnation: Int, supervisor: Int32, controlInode: UInt64, arena: Int32,
        arenaInode: UInt64, vitalSigns: Int32, control: Int32, sockets: [Socket] = [], settings: WorkerSettings? = nil
    ) {
        self.group = group
        self.name = name
        self.slot = slot
        self.incarnation = incarnation
        self.supervisor = supervisor
        self.controlInode = controlInode
        self.arena = arena
        self.arenaInode = arenaInode
        self.vitalSigns = vitalSigns
        self.control = control
        self.sockets = sockets
        self.settings = settings
    }

    // MARK: Text

    /// The environment variable's value: `KEY=VALUE` pairs with `;` between them.
    package var encoded: String {
        var text = "group=\(group);name=\(PercentEncoding.encode(name));slot=\(slot.map(String.init) ?? "spare")"
        text += ";incarnation=\(incarnation);supervisor=\(supervisor)"
        text += ";inode=\(controlInode);arena=\(arena);arena-inode=\(arenaInode);vital=\(vitalSigns);control=\(control)"
        for socket in sockets { text += ";socket=\(socket.descriptor):\(PercentEncoding.encode(socket.name))" }
        if let settings { text += ";settings=\(settings.encoded)" }
        return text
    }

    /// Reads the value of the environment variable; `nil` when it is none.
    package init?(decoding text: String) {
        var fields: [Substring: Substring] = [:]
        var sockets: [Socket] = []
        var settings: WorkerSettings?
        for pair in text.split(separator: ";", omittingEmptySubsequences: false) {
            guard let equals = pair.firstIndex(of: "=") else { return nil }
            let value = pair[pair.index(after: equals)...]
            if pair[..<equals] == "socket" {
                guard let colon = value.firstIndex(of: ":"), let number = Self.descriptor(value[..<colon]),
                    let name = PercentEncoding.decode(value[value.index(after: colon)...])
                else { return nil }
                sockets.append(Socket(name: name, descriptor: number))
            } else if pair[..<equals] == "settings" {
                guard settings == nil, let decoded = WorkerSettings(decoding: String(value)) else { return nil }
                settings = decoded
            } else if fields.updateValue(value, forKey: pair[..<equals]) != nil {
                return nil
            }
        }
        guard fields.count == 10, let name = fields["name"].flatMap({ PercentEncoding.decode($0) }),
            let arenaInode = fields["arena-inode"].flatMap({ UInt64($0) }), let group = Self.number(fields["group"]),
            let incarnation = Self.number(fields["incarnation"]),
            let supervisor = Self.number(fields["supervisor"]).flatMap({ Int32(exactly: $0) }), supervisor > 0,
            let inode = fields["inode"].flatMap({ UInt64($0) }), let arena = Self.descriptor(fields["arena"]),
            let vitalSigns = Self.descriptor(fields["vital"]), let control = Self.descriptor(fields["control"]),
            let slotText = fields["slot"]
        else { return nil }
        var slot: Int?
        if slotText != "spare" {
            slot = Self.number(slotText)
            if slot == nil { return nil }
        }
        let numbers = [arena, vitalSigns, control] + sockets.map(\.descriptor)
        guard Set(numbers).count == numbers.count else { return nil }
        self.init(
            group: group, name: name, slot: slot, incarnation: incarnation, supervisor: supervisor, controlInode: inode,
            arena: arena, arenaInode: arenaInode, vitalSigns: vitalSigns, control: control, sockets: sockets,
            settings: settings)
    }

    private static func number(_ text: Substring?) -> Int? {
        text.flatMap { Int($0) }.flatMap { $0 >= 0 ? $0 : nil }
    }

    private static func descriptor(_ text: Substring?) -> Int32? {
        number(text).flatMap { Int32(exactly: $0) }.flatMap { $0 >= SpawnRequest.firstDescriptor ? $0 : nil }
    }

    // MARK: This process

    /// What this process is to a supervisor.
    package enum Claim: Hashable, Sendable {
        /// Nobody's worker: the marker is missing, unreadable, or another process', from which the environment alone
        /// was inherited.
        case none
        /// A worker.
        case worker(WorkerMarker)
        /// A worker whose supervisor has died already; it should end at once.
        case orphan(WorkerMarker)
    }

    /// What this process is. Found out once; the descriptors are closed for programs that this one starts.
    package static let current = claim(
        value: getenv(variable).map { String(cString: $0) }, parent: getppid())

    /// Judges a marker by the descriptors that there are, and keeps those from programs that this process starts.
    package static func claim(value: String?, parent: Int32) -> Claim {
        guard let value, let marker = WorkerMarker(decoding: value), marker.isOwnControl else { return .none }
        for descriptor in [marker.arena, marker.vitalSigns, marker.control] + marker.sockets.map(\.descriptor) {
            let flags = fcntl(descriptor, F_GETFD)
            guard flags >= 0 else { return .none }
            _ = fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC)
        }
        return parent == marker.supervisor ? .worker(marker) : .orphan(marker)
    }

    /// Whether the control descriptor is the socket that the supervisor has made.
    private var isOwnControl: Bool {
        guard (try? FileIdentity(of: control).inode) == controlInode else { return false }
        var type: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(control, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == Int32(SOCK_SEQPACKET.rawValue)
    }
}

/// Ends a worker whose supervisor has died, however it died.
///
/// The kernel sends a worker a realtime signal when the supervisor's *thread* that started it ends. The signal's
/// handler asks for a graceful stop and arms a timer of the kernel's that ends the process soon, so that a worker that
/// hangs goes, too. The request is made before the parent is looked at: whenever the supervisor dies, one of the two
/// notices.
package enum ParentWatch {
    /// How long a worker has for a graceful stop once its supervisor has died.
    package static let grace = Duration.milliseconds(800)

    /// Begins to watch. To be called on the main thread: the request is that thread's and ends with it.
    ///
    /// - Returns: `false` when the parent has died already; the process should end at once.
    package static func arm(
        supervisor: Int32, reporting signal: Int32 = SIGTERM, grace: Duration = ParentWatch.grace
    ) throws(SystemError) -> Bool {
        let code = cmuster_orphan_arm(signal, Int(max(1, grace.clampedNanoseconds / 1000)))
        if code != 0 { throw SystemError("prctl(PR_SET_PDEATHSIG)", code: code) }
        return getppid() == supervisor
    }
}

/// The environment of a process to be started, byte for byte: what is inherited need not be UTF-8.
package struct ProcessEnvironment: Sendable {
    /// `NAME=VALUE`, without the final zero.
    package private(set) var entries: [[UInt8]]

    package init(_ variables: [String: String] = [:]) {
        entries = variables.sorted { $0.key < $1.key }.map { Array("\($0.key)=\($0.value)".utf8) }
    }

    /// A copy of this process' environment.
    package static var inherited: ProcessEnvironment {
        var environment = ProcessEnvironment()
        var next = environ
        while let entry = next.pointee {
            environment.entries.append(
                UnsafeBufferPointer(start: entry, count: strlen(entry)).map { UInt8(bitPattern: $0) })
            next += 1
        }
        return environment
    }

    /// The variables; of one that is there twice, the first value.
    package var variables: [String: String] {
        let pairs = entries.compactMap { entry -> (String, String)? in
            guard let equals = entry.firstIndex(of: UInt8(ascii: "=")) else { return nil }
            return (
                String(decoding: entry[..<equals], as: UTF8.self),
                String(decoding: entry[(equals + 1)...], as: UTF8.self)
            )
        }
        return Dictionary(pairs, uniquingKeysWith: { first, _ in first })
    }

    /// The value of a variable; `nil` when it is not set, and set to `nil` to remove it.
    package subscript(name: String) -> String? {
        get {
            let prefix = Array("\(name)=".utf8)
            return entries.first { $0.starts(with: prefix) }
                .map { String(decoding: $0.dropFirst(prefix.count), as: UTF8.self) }
        }
        set {
            let prefix = Array("\(name)=".utf8)
            entries.removeAll { $0.starts(with: prefix) }
            if let newValue { entries.append(prefix + Array(newValue.utf8)) }
        }
    }
}

extension String {
    /// The bytes of the longest beginning that fits, cut between characters' code points.
    func utf8Prefix(_ room: Int) -> [UInt8] {
        let bytes = utf8
        guard bytes.count > room else { return Array(bytes) }
        var prefix = Array(bytes.prefix(room + 1))
        // A byte 10xxxxxx goes on with the code point before it.
        while let last = prefix.popLast(), last & 0xC0 == 0x80 {}
        return prefix
    }
}

/// The settings that a supervisor hands to its workers, so that all of them go by what it has last accepted, whatever the
/// settings' sources say meanwhile: the loaded values by their keys, as texts.
package struct WorkerSettings: Hashable, Sendable {
    package var values: [String: String]

    package init(_ values: [String: String]) {
        self.values = values
    }

    private static let form = "1"

    /// The form's number, and `KEY:VALUE` pairs with `,` in front of each.
    package var encoded: String {
        values.sorted { $0.key < $1.key }.reduce(into: Self.form) { text, setting in
            text += ",\(PercentEncoding.encode(setting.key)):\(PercentEncoding.encode(setting.value))"
        }
    }

    package init?(decoding text: String) {
        values = [:]
        let fields = text.split(separator: ",", omittingEmptySubsequences: false)
        guard fields.first == Self.form[...] else { return nil }
        for pair in fields.dropFirst() {
            let parts = pair.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2, let key = PercentEncoding.decode(parts[0]),
                let value = PercentEncoding.decode(parts[1]), values.updateValue(value, forKey: key) == nil
            else { return nil }
        }
    }
}

/// Texts of letters, digits, `-`, `_`, `.` and `%XX`.
private enum PercentEncoding {
    private static let plain = Set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.".utf8)
    private static let digits = Array("0123456789ABCDEF".utf8)

    /// Writes all bytes but a few harmless ones as `%XX`.
    static func encode(_ name: String) -> String {
        var bytes: [UInt8] = []
        for byte in name.utf8 {
            if plain.contains(byte) {
                bytes.append(byte)
            } else {
                bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func decode(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                guard plain.contains(byte) else { return nil }
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap({ digits.firstIndex(of: $0) }),
                let low = rest.popFirst().flatMap({ digits.firstIndex(of: $0) })
            else { return nil }
            bytes.append(UInt8(high << 4 | low))
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
