// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

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
    package var birth: Int
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

    package init(
        group: Int, name: String, slot: Int?, birth: Int, supervisor: Int32, controlInode: UInt64, arena: Int32,
        arenaInode: UInt64, vitalSigns: Int32, control: Int32, sockets: [Socket] = []
    ) {
        self.group = group
        self.name = name
        self.slot = slot
        self.birth = birth
        self.supervisor = supervisor
        self.controlInode = controlInode
        self.arena = arena
        self.arenaInode = arenaInode
        self.vitalSigns = vitalSigns
        self.control = control
        self.sockets = sockets
    }

    // MARK: Text

    /// The environment variable's value: `KEY=VALUE` pairs with `;` between them.
    package var encoded: String {
        var text = "group=\(group);name=\(Self.escape(name));slot=\(slot.map(String.init) ?? "spare")"
        text += ";birth=\(birth);supervisor=\(supervisor)"
        text += ";inode=\(controlInode);arena=\(arena);arena-inode=\(arenaInode);vital=\(vitalSigns);control=\(control)"
        for socket in sockets { text += ";socket=\(socket.descriptor):\(Self.escape(socket.name))" }
        return text
    }

    /// Reads the value of the environment variable; `nil` when it is none.
    package init?(decoding text: String) {
        var fields: [Substring: Substring] = [:]
        var sockets: [Socket] = []
        for pair in text.split(separator: ";", omittingEmptySubsequences: false) {
            guard let equals = pair.firstIndex(of: "=") else { return nil }
            let value = pair[pair.index(after: equals)...]
            if pair[..<equals] == "socket" {
                guard let colon = value.firstIndex(of: ":"), let number = Self.descriptor(value[..<colon]),
                    let name = Self.unescape(value[value.index(after: colon)...])
                else { return nil }
                sockets.append(Socket(name: name, descriptor: number))
            } else if fields.updateValue(value, forKey: pair[..<equals]) != nil {
                return nil
            }
        }
        guard fields.count == 10, let name = fields["name"].flatMap({ Self.unescape($0) }),
            let arenaInode = fields["arena-inode"].flatMap({ UInt64($0) }), let group = Self.number(fields["group"]),
            let birth = Self.number(fields["birth"]),
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
            group: group, name: name, slot: slot, birth: birth, supervisor: supervisor, controlInode: inode,
            arena: arena, arenaInode: arenaInode, vitalSigns: vitalSigns, control: control, sockets: sockets)
    }

    private static func number(_ text: Substring?) -> Int? {
        text.flatMap { Int($0) }.flatMap { $0 >= 0 ? $0 : nil }
    }

    private static func descriptor(_ text: Substring?) -> Int32? {
        number(text).flatMap { Int32(exactly: $0) }.flatMap { $0 >= SpawnRequest.firstDescriptor ? $0 : nil }
    }

    private static let plain = Set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.".utf8)
    private static let digits = Array("0123456789ABCDEF".utf8)

    /// Writes all bytes but a few harmless ones as `%XX`.
    private static func escape(_ name: String) -> String {
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

    private static func unescape(_ text: Substring) -> String? {
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
    ///
    /// - Parameters:
    ///   - value: The value of the environment variable, if it is set.
    ///   - parent: The number of this process' parent.
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
        var status = stat()
        guard fstat(control, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK,
            UInt64(status.st_ino) == controlInode
        else { return false }
        var type: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(control, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == Int32(SOCK_SEQPACKET.rawValue)
    }
}
