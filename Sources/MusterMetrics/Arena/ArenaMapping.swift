// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import Synchronization

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

    /// Private memory in place of a file, for what nobody exports.
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

    /// A private copy of a range, so that nobody can change it between its check and its use.
    func copy(_ range: Range<Int>) -> [UInt8] {
        [UInt8](UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count))
    }
}
