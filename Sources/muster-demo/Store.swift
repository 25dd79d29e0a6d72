// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster

/// Values by key, each in a file of its own, divided into shards, each a folder: all workers see the same items, and
/// the death of one loses none.
final class Store: Sendable {
    /// What a pass over one shard found.
    struct Summary: Sendable {
        var items = 0
        var bytes = 0
        var expired = 0
        /// A checksum (FNV-1a) over the keys and values in the order of the keys.
        var checksum: UInt64 = 0xcbf2_9ce4_8422_2325
    }

    /// The most bytes a key may have: its name as a file, in hexadecimal, has to fit.
    static let longestKey = 120

    private struct Shard: Sendable {
        let folder: String
        let lock = Locked(())
        /// Its lock keeps a sweep of one worker from removing what another one has stored since it looked.
        let lockFile: OwnedDescriptor
    }

    private let shards: [Shard]
    private let serial = Locked(0)

    /// Opens the store.
    ///
    /// - Parameters:
    ///   - folder: Where the items are; made when it is not there.
    ///   - count: The number of shards.
    /// - Throws: `SystemError`.
    init(folder: String, shards count: Int) throws {
        try Self.makeFolder(folder)
        shards = try (0..<count).map { index in
            let path = "\(folder)/\(index)"
            try Self.makeFolder(path)
            let descriptor = open("\(path)/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { throw SystemError("open \(path)/lock") }
            return Shard(folder: path, lockFile: OwnedDescriptor(descriptor))
        }
    }

    private static func makeFolder(_ path: String) throws {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw SystemError("mkdir \(path)") }
    }

    var shardCount: Int { shards.count }

    subscript(key: String) -> [UInt8]? {
        guard let item = Item(file: file(of: key)), !item.isExpired(at: .now) else { return nil }
        return item.value
    }

    /// Stores a value.
    ///
    /// - Throws: `SystemError`.
    func set(_ key: String, to value: [UInt8], expiring: Duration?) throws {
        let item = Item(value: value, expires: expiring.map { MonotonicInstant.now.advanced(by: $0) })
        let number = serial.withLock { serial in
            serial += 1
            return serial
        }
        let shard = shard(of: key)
        let temporary = "\(shard.folder)/new-\(getpid())-\(number)"
        try item.write(to: temporary)
        let isStored = shard.lock.withLock { _ in
            Self.withFileLock(shard) { rename(temporary, file(of: key)) == 0 }
        }
        if !isStored {
            let error = SystemError("rename \(temporary)")
            unlink(temporary)
            throw error
        }
    }

    func remove(_ key: String) -> Bool {
        unlink(file(of: key)) == 0
    }

    /// Removes what has expired from a shard and sums the rest up.
    func sweep(shard index: Int, at now: MonotonicInstant) -> Summary {
        shards[index].lock.withLock { _ in sweep(shards[index], at: now) }
    }

    private func sweep(_ shard: Shard, at now: MonotonicInstant) -> Summary {
        var summary = Summary()
        for name in names(in: shard.folder) {
            let path = "\(shard.folder)/\(name)"
            guard let item = Item(file: path) else { continue }
            if item.isExpired(at: now) {
                // Another worker may have stored a new one by now.
                let isRemoved = Self.withFileLock(shard) {
                    guard let item = Item(file: path), item.isExpired(at: now) else { return false }
                    return unlink(path) == 0
                }
                if isRemoved { summary.expired += 1 }
                continue
            }
            summary.items += 1
            summary.bytes += item.value.count
            for byte in name.utf8 { summary.add(byte) }
            for byte in item.value { summary.add(byte) }
        }
        return summary
    }

    /// Does something with a shard's lock held, which nobody else in this process gets meanwhile.
    func withShardLocked(_ index: Int, _ body: () -> Void) {
        shards[index].lock.withLock { _ in body() }
    }

    private static func withFileLock(_ shard: Shard, _ body: () -> Bool) -> Bool {
        while flock(shard.lockFile.rawValue, LOCK_EX) != 0, errno == EINTR {}
        defer { flock(shard.lockFile.rawValue, LOCK_UN) }
        return body()
    }

    // MARK: Files

    private func shard(of key: String) -> Shard {
        var hash = Summary()
        for byte in key.utf8 { hash.add(byte) }
        return shards[Int(hash.checksum % UInt64(shards.count))]
    }

    private static let digits = Array("0123456789abcdef".utf8)

    private func file(of key: String) -> String {
        let name = key.utf8.flatMap { [Self.digits[Int($0 >> 4)], Self.digits[Int($0 & 15)]] }
        return "\(shard(of: key).folder)/item-\(String(decoding: name, as: UTF8.self))"
    }

    /// The items' files, in order.
    private func names(in folder: String) -> [String] {
        guard let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasPrefix("item-") { names.append(name) }
        }
        return names.sorted()
    }
}

extension Store.Summary {
    fileprivate mutating func add(_ byte: UInt8) {
        checksum = (checksum ^ UInt64(byte)) &* 0x100_0000_01b3
    }
}

/// A value with the end of its time. In its file the end comes first, as nanoseconds of the monotonic clock in eight
/// bytes, zero for never.
struct Item: Sendable {
    let value: [UInt8]
    let expires: MonotonicInstant?

    init(value: [UInt8], expires: MonotonicInstant?) {
        self.value = value
        self.expires = expires
    }

    func isExpired(at now: MonotonicInstant) -> Bool {
        expires.map { $0 <= now } ?? false
    }

    /// Reads an item; `nil` when there is none.
    init?(file path: String) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_size >= 8 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        guard read(descriptor, &bytes, bytes.count) == bytes.count else { return nil }
        let end = bytes[..<8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        expires = end == 0 ? nil : MonotonicInstant(nanoseconds: Int64(bitPattern: end))
        value = Array(bytes[8...])
    }

    /// Writes the item into a new file.
    ///
    /// - Throws: `SystemError`.
    func write(to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        defer { close(descriptor) }
        let end = UInt64(bitPattern: expires?.nanoseconds ?? 0)
        let bytes = (0..<8).map { UInt8(truncatingIfNeeded: end >> (8 * $0)) } + value
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            let error = SystemError("write \(path)")
            unlink(path)
            throw error
        }
    }
}

/// The application's own metrics.
struct StoreMetrics: Sendable {
    let requests: CounterFamily
    let duration: HistogramFamily
    let items: GaugeFamily
    let bytes: GaugeFamily
    let expired: CounterFamily

    init(_ registry: MetricRegistry) throws {
        requests = try registry.counterFamily(
            "demo_http_requests_total", help: "Requests answered.", labelNames: ["route", "code"])
        duration = try registry.histogramFamily(
            "demo_http_request_duration_seconds", help: "From the whole request to the whole answer.",
            unit: .seconds, labelNames: ["route"])
        items = try registry.gaugeFamily(
            "demo_store_items", help: "Items in a shard, as this worker last saw it.", labelNames: ["shard"])
        bytes = try registry.gaugeFamily(
            "demo_store_size_bytes", help: "Bytes of the values in a shard, as this worker last saw it.", unit: .bytes,
            labelNames: ["shard"])
        expired = try registry.counterFamily(
            "demo_store_expired_items_total", help: "Items removed because their time was over.",
            labelNames: ["shard"])
    }
}

/// Where the items are: a folder that the user names, or one that is made for the run and removed at its end.
struct DataFolder: Sendable {
    /// By which the supervisor tells its workers of the folder that it has made.
    private static let variable = "MUSTER_DEMO_DATA"

    let path: String
    private let isOurs: Bool

    /// Finds or makes the folder.
    ///
    /// - Throws: `SystemError`.
    init(named: String?) throws {
        if let named {
            path = named
            isOurs = false
        } else if Worker.isWorkerProcess, let inherited = getenv(Self.variable) {
            path = String(cString: inherited)
            isOurs = false
        } else {
            let root = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
            var template = Array("\(root)/muster-demo-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { throw SystemError("mkdtemp in \(root)") }
            path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            isOurs = true
            setenv(Self.variable, path, 1)
        }
    }

    /// Removes what was made for the run.
    func remove() {
        guard isOurs else { return }
        Self.remove(path)
    }

    private static func remove(_ folder: String) {
        guard let directory = opendir(folder) else { return }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name == "." || name == ".." { continue }
            if unlink("\(folder)/\(name)") != 0 { remove("\(folder)/\(name)") }
        }
        closedir(directory)
        rmdir(folder)
    }
}
