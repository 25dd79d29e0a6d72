// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterLock
import MusterPlatform
import Synchronization

/// What this process is called in the process list.
package enum ProcessTitle {
    /// Overwrites the program's name in the command line, within the room that it was given at its start
    /// (``SpawnRequest/titleRoom``), and the first 15 bytes of the short name that `ps -o comm` and `top` show.
    package static func set(_ title: String, shortName: String) {
        setCommand(shortName)
        var room: UInt = 0
        guard let memory = cmuster_title_memory(&room) else { return }
        write(title.utf8Prefix(Int(room)), to: memory, room: Int(room))
    }

    /// How many bytes a title may have.
    package static var room: Int {
        var room: UInt = 0
        return cmuster_title_memory(&room) == nil ? 0 : Int(room)
    }

    private static let lock = Locked(())

    private static func write(_ bytes: [UInt8], to memory: UnsafeMutablePointer<CChar>, room: Int) {
        lock.withLock { _ in
            for index in 0..<room {
                // Spaces, because zero bytes would look like further, empty arguments.
                let byte = bytes.indices.contains(index) && bytes[index] != 0 ? bytes[index] : UInt8(ascii: " ")
                memory[index] = CChar(bitPattern: byte)
            }
        }
    }

    private static func setCommand(_ name: String) {
        let bytes = name.utf8Prefix(15)
        if NativeThread.isMain {
            NativeThread.setName(String(decoding: bytes, as: UTF8.self))
            return
        }
        // The process' short name is its first thread's.
        let file = open("/proc/self/comm", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        _ = Glibc.write(file, bytes, bytes.count)
        close(file)
    }
}

/// What workers are called in the process list.
package enum WorkerTitle {
    /// The name in the command line, for example `muster-demo: store/2`.
    package static func long(program: String, worker: String) -> String {
        "\(program.split(separator: "/").last ?? "muster"): \(worker)"
    }
}
