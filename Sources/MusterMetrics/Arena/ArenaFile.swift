// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
package import MusterPlatform
import Synchronization

/// Memory files for arenas.
package enum ArenaFile {
    /// Creates a sealed memory file without an arena in it: the first ``ArenaWriter`` that attaches formats it.
    ///
    /// - Parameters:
    ///   - name: What the file is called in `/proc/PID/fd`.
    ///   - capacity: The file's size in bytes; about a quarter of it holds descriptions, the rest values.
    /// - Throws: ``ArenaError`` when the system has no memory file to give or the capacity is too small.
    package static func create(
        name: String, capacity: Int = ArenaWriter.defaultCapacity
    ) throws(ArenaError) -> OwnedDescriptor {
        guard capacity >= ArenaLayout.minimumSize else {
            throw .tooSmall(size: capacity, minimum: ArenaLayout.minimumSize)
        }
        let descriptor = cmuster_memory_file_create(name, Int64(capacity))
        guard descriptor >= 0 else { throw .system(SystemError("memfd_create")) }
        return OwnedDescriptor(descriptor)
    }

    /// Whether a descriptor leads to a memory file that can neither shrink nor grow.
    static func isSealed(_ descriptor: Int32) -> Bool {
        cmuster_seals_forbid_resizing(cmuster_memory_file_seals(descriptor))
    }
}

/// The mapped memory of an arena; unmapped when the last handle into it is gone.
///
/// Sound as `@unchecked Sendable`: the pointer and the size never change, and the memory behind them is shared with
/// other processes by design, so that it is read and written through atomics or copied out before it is judged.
final class ArenaMapping: @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    let size: Int
    private let isHeap: Bool

    /// Maps a sealed memory file.
    init(descriptor: Int32, writable: Bool) throws(ArenaError) {
        guard ArenaFile.isSealed(descriptor) else {
            if fcntl(descriptor, F_GETFD) == -1 { throw .system(SystemError("fcntl")) }
            throw .notSealed
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .system(SystemError("fstat")) }
        let length = Int(status.st_size)
        guard length >= ArenaLayout.minimumSize else {
            throw .tooSmall(size: length, minimum: ArenaLayout.minimumSize)
        }
        let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
        guard let address = mmap(nil, length, protection, MAP_SHARED, descriptor, 0), address != MAP_FAILED else {
            throw .system(SystemError("mmap"))
        }
        base = address
        size = length
        isHeap = false
    }

    /// Private memory in place of a file, for metrics that are not exported.
    init(privateBytes: Int) {
        size = privateBytes
        base = .allocate(byteCount: privateBytes, alignment: 64)
        base.initializeMemory(as: UInt8.self, repeating: 0, count: privateBytes)
        isHeap = true
    }

    deinit {
        if isHeap {
            base.deallocate()
        } else {
            munmap(base, size)
        }
    }

    /// The 8-byte cell at an offset that the caller has checked to be aligned and inside the mapping.
    @inline(__always)
    func cell(at offset: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        (base + offset).assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    /// A private copy of a range, so that it cannot change between its check and its use.
    func copy(_ range: Range<Int>) -> [UInt8] {
        [UInt8](UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count))
    }
}

/// The arena that a worker gets from its supervisor as an open descriptor.
///
/// It is looked up in the environment and not handed over, because a program may use ``MetricRegistry/shared`` before
/// it makes its launcher. A process further down, which inherited the variable but not the descriptor, has none.
package struct InheritedArena: Sendable {
    /// The variable by which a supervisor tells a process that it is a worker: fields `key=value`, with `;`
    /// between them.
    package static let variable = "MUSTER_WORKER"
    /// The field with the descriptor's number.
    package static let descriptorField = "arena"
    /// The field with the memory file's inode number.
    package static let inodeField = "arena-inode"

    /// The inherited descriptor, which belongs to the launcher.
    let descriptor: Int32

    /// Looks for an inherited arena.
    ///
    /// - Returns: `nil` unless the variable names a descriptor that leads to the memory file it speaks of, sealed as
    ///   an arena's is.
    init?(environment: (String) -> String? = InheritedArena.processEnvironment) {
        guard let marker = environment(Self.variable) else { return nil }
        var descriptor: Int32?
        var inode: UInt64?
        for field in marker.split(separator: ";") {
            guard let equals = field.firstIndex(of: "=") else { continue }
            let value = field[field.index(after: equals)...]
            switch field[..<equals] {
            case Self.descriptorField: descriptor = Int32(value)
            case Self.inodeField: inode = UInt64(value)
            default: break
            }
        }
        guard let descriptor, let inode, descriptor >= 0, ArenaFile.isSealed(descriptor),
            (try? FileIdentity(of: descriptor).inode) == inode
        else { return nil }
        self.descriptor = descriptor
    }

    /// Attaches to the arena over a descriptor of its own.
    ///
    /// - Throws: ``ArenaError`` when the arena is damaged or laid out by another version.
    func attach() throws(ArenaError) -> ArenaWriter {
        let own = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard own >= 0 else { throw .system(SystemError("fcntl")) }
        return try ArenaWriter(descriptor: OwnedDescriptor(own))
    }

    static func processEnvironment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }
}

/// A lock between processes that append to one arena; the kernel releases it when its holder dies.
///
/// It is a record lock of POSIX, which belongs to a process: an inherited descriptor shares its open file
/// description with its origin, so that locks tied to that description would not exclude anything. Threads of one
/// process exclude each other by a mutex before they come here.
struct ProcessFileLock {
    private let descriptor: Int32

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
    }

    func acquire() {
        set(Int16(F_WRLCK), F_SETLKW)
    }

    func release() {
        set(Int16(F_UNLCK), F_SETLK)
    }

    /// A kernel that refuses record locks leaves the arena to one writer at a time, which is the usual case.
    private func set(_ type: Int16, _ command: Int32) {
        guard descriptor >= 0 else { return }
        var request = flock()
        request.l_type = type
        request.l_whence = Int16(SEEK_SET)
        while fcntl(descriptor, command, &request) == -1, errno == EINTR {}
    }
}

/// Why a memory file cannot be used as a metric arena.
package enum ArenaError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A system call failed.
    case system(SystemError)
    /// The file may still be resized, so that another process could make a reader fault.
    case notSealed
    /// The file is smaller than the smallest arena.
    case tooSmall(size: Int, minimum: Int)
    /// The file does not contain an arena yet.
    case notFormatted
    /// The file begins with something else than an arena.
    case wrongMagic(found: UInt64)
    /// The arena was laid out by another version of the format.
    case unsupportedVersion(found: UInt32, supported: UInt32)
    /// The header contradicts itself or the file's size.
    case invalidHeader(String)
    /// A record in the descriptor area is malformed.
    case invalidRecord(offset: Int, reason: String)

    package var description: String {
        switch self {
        case .system(let error):
            "metric arena: \(error)"
        case .notSealed:
            "metric arena: the descriptor is not a memory file sealed against shrinking and growing; "
                + "create it with ArenaWriter.create"
        case .tooSmall(let size, let minimum):
            "metric arena: \(size) bytes are too few; the smallest arena has \(minimum)"
        case .notFormatted:
            "metric arena: the memory file is still empty; attach an ArenaWriter to it first"
        case .wrongMagic(let found):
            "metric arena: the memory file begins with 0x\(String(found, radix: 16)), which is not an arena's magic "
                + "number; the descriptor belongs to something else or the header was overwritten"
        case .unsupportedVersion(let found, let supported):
            "metric arena: layout version \(found) found, version \(supported) supported; "
                + "reader and writer must be of compatible versions"
        case .invalidHeader(let reason):
            "metric arena: invalid header: \(reason); the header was overwritten, replace the arena"
        case .invalidRecord(let offset, let reason):
            "metric arena: invalid record at byte \(offset): \(reason)"
        }
    }
}
