// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster
import MusterLock

/// Values by key, each in a file of its own, divided into shards, each a folder: all workers see the same items, and
/// the death of one loses none. The files together use no more of the volume than a limit.
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
    }

    private let shards: [Shard]
    private let limit: Int
    private let account: SpaceAccount
    private let serial = Locked(0)

    /// Whether items can be written now.
    var isWritable: Bool { shards.allSatisfy { access($0.folder, W_OK) == 0 } }

    /// Opens the store.
    ///
    /// - Parameters:
    ///   - folder: Where the items are; made when it is not there.
    ///   - count: The number of shards.
    ///   - limit: How many bytes of the volume the items may use; 0 for no limit.
    /// - Throws: `SystemError`.
    init(folder: String, shards count: Int, limit: Int) throws {
        self.limit = limit
        try Self.makeFolder(folder)
        shards = try (0..<count).map { index in
            let path = "\(folder)/\(index)"
            try Self.makeFolder(path)
            return Shard(folder: path)
        }
        account = try SpaceAccount(at: "\(folder)/space")
        account.change { used in used = Self.countSpace(in: folder) }
    }

    private static func makeFolder(_ path: String) throws {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw SystemError("mkdir \(path)") }
    }

    var shardCount: Int { shards.count }

    /// Reads a value; `nil` when there is none.
    ///
    /// - Throws: `SystemError`.
    func value(of key: String) throws -> [UInt8]? {
        guard let item = try Item(file: file(of: key)), !item.isExpired(at: .now) else { return nil }
        return item.value
    }

    /// Stores a value. One that cannot be stored leaves the key's previous value.
    ///
    /// - Throws: `StoreFull`; `SystemError`.
    func set(_ key: String, to value: [UInt8], expiring: Duration?) throws {
        let item = Item(value: value, expires: expiring.map { MonotonicInstant.now.advanced(by: $0) })
        do {
            try store(item.encoded, in: shard(of: key), as: file(of: key))
        } catch let error as SystemError {
            if let full = StoreFull(error) { throw full }
            throw error
        }
    }

    private func store(_ bytes: [UInt8], in shard: Shard, as path: String) throws {
        let number = serial.withLock { serial in
            serial += 1
            return serial
        }
        let temporary = "\(shard.folder)/new-\(getpid())-\(number)"
        let descriptor = try create(temporary, size: bytes.count)
        // Not before the end: its lock shows that a living process writes the file.
        defer { close(descriptor) }
        do {
            try Self.write(bytes, to: descriptor, named: temporary)
            // Some volumes, of a network for example, say only here that they are full or broken.
            let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
            guard copy >= 0, close(copy) == 0 else { throw SystemError("close \(temporary)") }
            try shard.lock.withLock { _ in
                account.change { used -> Result<Void, SystemError> in
                    let replaced = Self.space(at: path)
                    guard rename(temporary, path) == 0 else { return .failure(SystemError("rename \(temporary)")) }
                    used -= replaced
                    return .success(())
                }
            }.get()
        } catch {
            _ = try? removeFile(temporary)
            throw error
        }
    }

    /// Creates a file of a size, which counts from now on. Its space is the file's from the beginning: several that are
    /// written at a time would otherwise fill the volume with their halves.
    ///
    /// - Returns: Its descriptor.
    private func create(_ path: String, size: Int) throws -> Int32 {
        try account.change { used -> Result<Int32, any Error> in
            let wanted = Self.space(of: size)
            guard limit == 0 || used + wanted <= limit else {
                return .failure(StoreFull.limit(limit, used: used, wanted: wanted))
            }
            let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { return .failure(SystemError("open \(path)")) }
            let error =
                flock(descriptor, LOCK_EX | LOCK_NB) == 0 ? Self.allocate(size, of: descriptor) : errno
            guard error == 0 else {
                unlink(path)
                close(descriptor)
                return .failure(SystemError("allocate \(path)", code: error))
            }
            used += wanted
            return .success(descriptor)
        }.get()
    }

    /// Returns the error's number.
    private static func allocate(_ size: Int, of descriptor: Int32) -> Int32 {
        while true {
            let error = posix_fallocate(descriptor, 0, off_t(size))
            if error != EINTR { return error }
        }
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32, named path: String) throws {
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                Glibc.write(descriptor, buffer.baseAddress?.advanced(by: written), buffer.count - written)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw SystemError("write \(path)") }
            written += count
        }
    }

    /// Removes an item.
    ///
    /// - Returns: Whether there was one.
    /// - Throws: `SystemError`; the item is still there.
    func remove(_ key: String) throws -> Bool {
        try removeFile(file(of: key))
    }

    /// Removes a file, which no longer counts.
    private func removeFile(_ path: String, if condition: () -> Bool = { true }) throws -> Bool {
        try account.change { used -> Result<Bool, SystemError> in
            let freed = Self.space(at: path)
            guard condition() else { return .success(false) }
            guard unlink(path) == 0 else {
                return errno == ENOENT ? .success(false) : .failure(SystemError("unlink \(path)"))
            }
            used -= freed
            return .success(true)
        }.get()
    }

    /// Removes what has expired from a shard and sums the rest up.
    func sweep(shard index: Int, at now: MonotonicInstant) -> Summary {
        shards[index].lock.withLock { _ in sweep(shards[index], at: now) }
    }

    private func sweep(_ shard: Shard, at now: MonotonicInstant) -> Summary {
        var summary = Summary()
        let names = Self.names(in: shard.folder)
        // Of a worker that died and still had its files when its successor counted.
        for path in names.filter({ $0.hasPrefix("new-") }).map({ "\(shard.folder)/\($0)" }) where Self.isAbandoned(path)
        {
            _ = try? removeFile(path) { Self.isAbandoned(path) }
        }
        for name in names.filter({ $0.hasPrefix("item-") }).sorted() {
            let path = "\(shard.folder)/\(name)"
            guard let item = try? Item(file: path) else { continue }
            if item.isExpired(at: now) {
                // Another worker may have stored a new one by now.
                let isRemoved = try? removeFile(path) { (try? Item(file: path))?.isExpired(at: now) ?? false }
                if isRemoved == true { summary.expired += 1 }
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

    private static func names(in folder: String) -> [String] {
        guard let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    // MARK: Space

    /// The space that a file of a size uses: the volume is used, and measured, in blocks.
    private static func space(of size: Int) -> Int {
        let block = 4096
        return (size + block - 1) / block * block
    }

    private static func space(at path: String) -> Int {
        var status = stat()
        return lstat(path, &status) == 0 ? space(of: Int(status.st_size)) : 0
    }

    /// Counts the space that all files use, and removes those that a process which has died was writing. Shards that an
    /// earlier run had in addition count, too.
    private static func countSpace(in folder: String) -> Int {
        var used = 0
        for shard in names(in: folder) where Int(shard) != nil {
            for name in names(in: "\(folder)/\(shard)") {
                let path = "\(folder)/\(shard)/\(name)"
                if name.hasPrefix("new-"), isAbandoned(path), unlink(path) == 0 { continue }
                used += space(at: path)
            }
        }
        return used
    }

    /// Whether no process writes the file any more: its lock is gone.
    private static func isAbandoned(_ path: String) -> Bool {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return flock(descriptor, LOCK_EX | LOCK_NB) == 0
    }
}

/// How many bytes of the volume the store's files use: a number in a file that all workers share.
///
/// The file's lock is held whenever files are created, renamed or removed, so that the number agrees with the files. A
/// worker that is killed between the two leaves a wrong number; its successor counts anew.
private final class SpaceAccount: Sendable {
    private let file: OwnedDescriptor
    /// The file's lock is the process'; this one is for its threads.
    private let lock = Locked(())

    init(at path: String) throws {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        file = OwnedDescriptor(descriptor)
    }

    /// Changes files and the number while no other thread or process does.
    func change<Value: Sendable>(_ body: (inout Int) -> Value) -> Value {
        lock.withLock { _ in
            while flock(file.rawValue, LOCK_EX) != 0, errno == EINTR {}
            defer { flock(file.rawValue, LOCK_UN) }
            // A new file is empty, which is 0.
            var before = 0
            _ = pread(file.rawValue, &before, MemoryLayout<Int>.size, 0)
            var used = before
            let value = body(&used)
            // It can fail where a full volume has no block for a file's first bytes. Then the volume is the limit.
            if used != before { _ = pwrite(file.rawValue, &used, MemoryLayout<Int>.size, 0) }
            return value
        }
    }
}

/// There is no space for an item. What was stored before is unchanged.
enum StoreFull: Error, CustomStringConvertible {
    /// The items would use more than `--data-limit` allows.
    case limit(Int, used: Int, wanted: Int)
    /// The volume, or the user's part of it, is full.
    case volume(SystemError)
    /// A file cannot be as large as the item.
    case file(SystemError)

    /// Creates the error from the system's; `nil` for one with another reason.
    init?(_ error: SystemError) {
        switch error.code {
        case ENOSPC, EDQUOT: self = .volume(error)
        case EFBIG: self = .file(error)
        default: return nil
        }
    }

    var description: String {
        let reason =
            switch self {
            case .limit(let limit, let used, let wanted):
                "the store is full: its items use \(Self.text(used)) of \(Self.text(limit)) (--data-limit), this one "
                    + "takes \(Self.text(wanted)). Delete some first."
            case .volume(let error): "the store is full: its volume has no space left (\(error)). Delete some first."
            case .file(let error): "no file of the store can be as large as this item (\(error))."
            }
        return "\(reason) The item was not stored, the others are unchanged."
    }

    private static func text(_ bytes: Int) -> String { PlainText.bytes(Double(bytes)) ?? "\(bytes) B" }
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
    ///
    /// - Throws: `SystemError`; there may be one.
    init?(file path: String) throws(SystemError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw SystemError("open \(path)")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw SystemError("fstat \(path)") }
        guard status.st_size >= 8 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        let count = read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw SystemError("read \(path)") }
        guard count == bytes.count else { return nil }
        let end = bytes[..<8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        expires = end == 0 ? nil : MonotonicInstant(nanoseconds: Int64(bitPattern: end))
        value = Array(bytes[8...])
    }

    /// What its file holds.
    var encoded: [UInt8] {
        let end = UInt64(bitPattern: expires?.nanoseconds ?? 0)
        return (0..<8).map { UInt8(truncatingIfNeeded: end >> (8 * $0)) } + value
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
