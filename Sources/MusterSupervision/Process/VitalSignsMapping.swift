// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterPlatform
import Synchronization

/// The mapped memory of a vital-signs file.
///
/// Sound as `@unchecked Sendable`: the pointer never changes, and the memory is reached through atomics only.
final class VitalSignsMapping: @unchecked Sendable {
    let base: UnsafeMutableRawPointer

    init(descriptor: Int32) throws(VitalSignsError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .system(SystemError("fstat")) }
        guard cmuster_seals_forbid_resizing(cmuster_memory_file_seals(descriptor)) else { throw .notSealed }
        let size = Int(status.st_size)
        guard size == VitalSignsLayout.size else { throw .wrongSize(size) }
        guard let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), address != MAP_FAILED
        else { throw .system(SystemError("mmap")) }
        base = address
    }

    deinit {
        munmap(base, VitalSignsLayout.size)
    }

    @inline(__always)
    func instant(at offset: Int) -> UnsafeMutablePointer<Atomic<Int64>> {
        (base + offset).assumingMemoryBound(to: Atomic<Int64>.self)
    }

    @inline(__always)
    func word(at offset: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        (base + offset).assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    @inline(__always)
    func deadline(_ index: Int) -> UnsafeMutablePointer<Atomic<Int64>> {
        instant(at: VitalSignsLayout.Offset.deadlines + 8 * index)
    }

    /// The words of an entry of the health table.
    func health(_ index: Int, _ word: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        self.word(at: VitalSignsLayout.Offset.health + 8 * (index * VitalSignsLayout.healthWords + word))
    }
}
