// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
public import MusterPlatform

/// Memory files for arenas.
public enum ArenaFile {
    /// Creates a sealed memory file without an arena in it: the first ``ArenaWriter`` that attaches formats it.
    ///
    /// - Parameters:
    ///   - name: What the file is called in `/proc/PID/fd`.
    ///   - capacity: The file's size in bytes; about half of it holds descriptions, the rest values.
    /// - Returns: The file, closed on exec.
    /// - Throws: ``ArenaError`` when the system has no memory file to give or the capacity is too small.
    public static func create(
        name: String, capacity: Int = ArenaWriter.defaultCapacity
    ) throws(ArenaError) -> OwnedDescriptor {
        guard capacity >= ArenaLayout.minimumSize else {
            throw .tooSmall(size: capacity, minimum: ArenaLayout.minimumSize)
        }
        let descriptor = cmuster_memory_file_create(name, Int64(capacity))
        guard descriptor >= 0 else { throw .system(SystemError("memfd_create")) }
        return OwnedDescriptor(descriptor)
    }

    /// The file's inode number, by which an heir of the descriptor tells that it is still the same file.
    ///
    /// - Parameter descriptor: An open descriptor.
    /// - Returns: The number; `nil` when the descriptor is not open.
    public static func inode(of descriptor: Int32) -> UInt64? {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? UInt64(status.st_ino) : nil
    }

    /// Whether a descriptor leads to a memory file that can neither shrink nor grow.
    static func isSealed(_ descriptor: Int32) -> Bool {
        cmuster_seals_forbid_resizing(cmuster_memory_file_seals(descriptor))
    }

    /// Whether two descriptors lead to one file.
    static func isSame(_ first: Int32, _ second: Int32) -> Bool {
        var one = stat()
        var other = stat()
        guard fstat(first, &one) == 0, fstat(second, &other) == 0 else { return first == second }
        return one.st_dev == other.st_dev && one.st_ino == other.st_ino
    }
}
