// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

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
    /// - Parameter environment: Gives a variable's value.
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
            ArenaFile.inode(of: descriptor) == inode
        else { return nil }
        self.descriptor = descriptor
    }

    /// Attaches to the arena over a descriptor of its own.
    ///
    /// - Returns: The writer.
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
