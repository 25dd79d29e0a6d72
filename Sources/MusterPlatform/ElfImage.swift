// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterLock
import Synchronization

/// Reads numbers from bytes one after the other. Behind their end everything is zero.
struct ByteCursor {
    private(set) var bytes: UnsafeRawBufferPointer
    var position: Int

    init(_ bytes: UnsafeRawBufferPointer, at position: Int = 0) {
        self.bytes = bytes
        self.position = position
    }

    /// Leaves out what is behind a position.
    mutating func end(at end: Int) {
        bytes = UnsafeRawBufferPointer(rebasing: bytes[..<end])
    }

    var isAtEnd: Bool { position < 0 || position >= bytes.count }

    mutating func next<Number: FixedWidthInteger & BitwiseCopyable>(_ type: Number.Type = Number.self) -> Number {
        let size = MemoryLayout<Number>.size
        defer { skip(size) }
        guard position >= 0, position <= bytes.count - size else { return 0 }
        return bytes.loadUnaligned(fromByteOffset: position, as: type)
    }

    mutating func skip(_ count: some BinaryInteger) {
        position = position.addingReportingOverflow(Int(clamping: count)).partialValue
    }

    mutating func unsignedLEB() -> UInt64 {
        var (result, shift): (UInt64, UInt64) = (0, 0)
        while !isAtEnd {
            let byte = next(UInt8.self)
            result |= UInt64(byte & 0x7F) << shift
            shift += 7
            if byte & 0x80 == 0 { break }
        }
        return result
    }

    mutating func signedLEB() -> Int64 {
        var (result, shift): (Int64, Int64) = (0, 0)
        while !isAtEnd {
            let byte = next(UInt8.self)
            result |= Int64(byte & 0x7F) << shift
            shift += 7
            guard byte & 0x80 == 0 else { continue }
            return byte & 0x40 != 0 && shift < 64 ? result | -1 << shift : result
        }
        return result
    }

    /// The bytes up to a zero.
    mutating func text() -> UnsafeRawBufferPointer {
        let start = min(max(0, position), bytes.count)
        let end = bytes[start...].firstIndex(of: 0) ?? bytes.count
        position = end + 1
        return UnsafeRawBufferPointer(rebasing: bytes[start..<end])
    }
}

/// An executable or a library: its symbols, and where it says how functions save registers. Whatever is in the file, reading
/// it ends without a trap.
///
/// Sound as `@unchecked Sendable`: it is only read.
final class ElfImage: @unchecked Sendable {
    private struct Segment {
        let virtual: UInt64
        let offset: UInt64
        let size: UInt64
    }

    /// Which file, and which state of it.
    private struct Identity: Hashable {
        let file: FileIdentity
        let size: Int
        let changed: [Int]
    }

    private struct Known {
        weak var image: ElfImage?
    }

    /// Processes of one program have the same libraries.
    private static let known = Locked<[Identity: Known]>([:])
    /// How many bytes are copies of files, and may be.
    private static let copied = Atomic<Int>(0)
    private static let mostCopied = 512 << 20

    let bytes: UnsafeRawBufferPointer
    private let origin: Origin
    private var segments: [Segment] = []
    /// The index of call frames, as a position in the file and an address.
    private(set) var frameIndex: (position: Int, address: UInt64)?

    /// That of a file; `nil` when it is none of this machine's kind, or there is no room for it.
    static func ofFile(_ path: String) -> ElfImage? {
        let descriptor = OwnedDescriptor(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK))
        var status = stat()
        guard fstat(descriptor.rawValue, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size > 64,
            let file = try? FileIdentity(of: descriptor.rawValue)
        else { return nil }
        let size = Int(status.st_size)
        let changed = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
        let identity = Identity(file: file, size: size, changed: changed)
        if let image = known.withLock({ $0[identity]?.image }) { return image }
        guard let image = file == ownExecutable ? mapped(descriptor, size) : copy(of: descriptor, size) else {
            return nil
        }
        known.withLock { known in
            known = known.filter { $0.value.image != nil }
            known[identity] = Known(image: image)
        }
        return image
    }

    /// The one file that is mapped: it cannot become shorter while this process runs. Reading a mapping behind the end of
    /// its file would end the process.
    private static let ownExecutable: FileIdentity? = {
        let descriptor = OwnedDescriptor(open("/proc/self/exe", O_RDONLY | O_CLOEXEC))
        return try? FileIdentity(of: descriptor.rawValue)
    }()

    private static func mapped(_ descriptor: OwnedDescriptor, _ size: Int) -> ElfImage? {
        guard let address = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor.rawValue, 0), address != MAP_FAILED
        else { return nil }
        return ElfImage(UnsafeRawBufferPointer(start: address, count: size), .mapping)
    }

    private static func copy(of descriptor: OwnedDescriptor, _ size: Int) -> ElfImage? {
        guard size <= mostCopied else { return nil }
        let isTooMuch = copied.wrappingAdd(size, ordering: .relaxed).newValue > mostCopied
        let flags = MAP_PRIVATE | MAP_ANONYMOUS
        guard !isTooMuch, let address = mmap(nil, size, PROT_READ | PROT_WRITE, flags, -1, 0), address != MAP_FAILED
        else {
            copied.wrappingSubtract(size, ordering: .relaxed)
            return nil
        }
        var filled = 0
        while filled < size {
            let count = pread(descriptor.rawValue, address + filled, size - filled, filled)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            filled += count
        }
        return ElfImage(UnsafeRawBufferPointer(start: address, count: size), .copy)
    }

    private enum Origin {
        case other, mapping, copy
    }

    /// - Parameter bytes: The file's bytes, which stay where they are for as long as the image lives.
    convenience init?(_ bytes: UnsafeRawBufferPointer) {
        self.init(bytes, .other)
    }

    private init?(_ bytes: UnsafeRawBufferPointer, _ origin: Origin) {
        self.bytes = bytes
        self.origin = origin
        // 64 bits, little-endian.
        guard bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]) else { return nil }
        let headers = Int(clamping: number(32, UInt64.self))
        let (size, count) = (Int(number(54, UInt16.self)), Int(number(56, UInt16.self)))
        for index in 0..<count where headers < bytes.count {
            var cursor = ByteCursor(bytes, at: headers + index * size)
            let type = cursor.next(UInt32.self)
            cursor.skip(4)
            let (offset, virtual) = (cursor.next(UInt64.self), cursor.next(UInt64.self))
            cursor.skip(8)
            let segment = Segment(virtual: virtual, offset: offset, size: cursor.next())
            // PT_LOAD and PT_GNU_EH_FRAME.
            if type == 1 { segments.append(segment) }
            if type == 0x6474_E550 { frameIndex = (Int(clamping: offset), virtual) }
        }
    }

    deinit {
        if origin != .other { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count) }
        if origin == .copy { Self.copied.wrappingSubtract(bytes.count, ordering: .relaxed) }
    }

    private func number<Number: FixedWidthInteger & BitwiseCopyable>(_ position: Int, _: Number.Type) -> Number {
        var cursor = ByteCursor(bytes, at: position)
        return cursor.next()
    }

    /// The address, before the image was moved to its place in memory, of a byte of the file.
    func address(ofOffset offset: UInt64) -> UInt64? {
        segments.first { offset >= $0.offset && offset - $0.offset < $0.size }.map { offset &- $0.offset &+ $0.virtual }
    }

    /// Where in the file the byte at an address is.
    func position(ofAddress address: UInt64) -> Int? {
        segments.first { address >= $0.virtual && address - $0.virtual < $0.size }
            .flatMap { Int(exactly: address &- $0.virtual &+ $0.offset) }
    }

    /// The byte before an address and the four from there on; `nil` where they are not in the file.
    func code(at address: UInt64) -> [UInt8]? {
        guard let position = position(ofAddress: address), position > 0, position <= bytes.count - 4 else { return nil }
        return Array(bytes[(position - 1)..<(position + 4)])
    }

    /// The functions at some addresses, with how far into them those are.
    ///
    /// Looks through all symbols once, whatever their number, and keeps none.
    func symbols(at addresses: Set<UInt64>) -> [UInt64: (name: String, offset: UInt64)] {
        let wanted = addresses.sorted()
        guard let first = wanted.first, let last = wanted.last, let table = symbolTable() else { return [:] }
        var found = [(start: UInt64, name: UInt32)?](repeating: nil, count: wanted.count)
        for position in stride(from: table.start, to: table.end - 23, by: 24) {
            let start = bytes.loadUnaligned(fromByteOffset: position + 8, as: UInt64.self)
            let size = bytes.loadUnaligned(fromByteOffset: position + 16, as: UInt64.self)
            guard start <= last, start &+ size > first, bytes[position + 4] & 0xF == 2 else { continue }
            var (low, high) = (0, wanted.count)
            while low < high {
                let middle = (low + high) / 2
                if wanted[middle] < start { low = middle + 1 } else { high = middle }
            }
            while low < wanted.count, wanted[low] - start < size {
                if start >= found[low]?.start ?? 0 {
                    found[low] = (start, bytes.loadUnaligned(fromByteOffset: position, as: UInt32.self))
                }
                low += 1
            }
        }
        var result: [UInt64: (String, UInt64)] = [:]
        for (address, symbol) in zip(wanted, found) {
            guard let symbol else { continue }
            var cursor = ByteCursor(bytes, at: table.names + Int(symbol.name))
            result[address] = (String(decoding: cursor.text(), as: UTF8.self), address - symbol.start)
        }
        return result
    }

    /// The table of all symbols or, where it has been stripped off, of those that others link to.
    private func symbolTable() -> (start: Int, end: Int, names: Int)? {
        let headers = Int(clamping: number(40, UInt64.self))
        let (size, count) = (Int(number(58, UInt16.self)), Int(number(60, UInt16.self)))
        func section(_ index: Int) -> (type: UInt32, start: Int, end: Int, link: Int)? {
            guard index < count, headers < bytes.count else { return nil }
            var cursor = ByteCursor(bytes, at: headers + index * size + 4)
            let type = cursor.next(UInt32.self)
            cursor.skip(16)
            let (offset, length) = (Int(clamping: cursor.next(UInt64.self)), Int(clamping: cursor.next(UInt64.self)))
            guard offset <= bytes.count, length <= bytes.count - offset else { return nil }
            return (type, offset, offset + length, Int(cursor.next(UInt32.self)))
        }
        // SHT_SYMTAB and SHT_DYNSYM.
        for wanted: UInt32 in [2, 11] {
            for index in 0..<count {
                guard let table = section(index), table.type == wanted, let names = section(table.link) else {
                    continue
                }
                return (table.start, table.end, names.start)
            }
        }
        return nil
    }
}
