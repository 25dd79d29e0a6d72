// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc

/// The process' memory.
enum ResidentMemory {
    /// The bytes resident now.
    static func bytes() -> Int {
        let fields = SystemFile.read("/proc/self/statm").split(separator: " ")
        guard fields.count > 1, let pages = Int(fields[1]) else { return 0 }
        return pages * sysconf(Int32(_SC_PAGESIZE))
    }

    /// Gives freed memory back, so that what is allocated next is seen in ``bytes()``.
    static func trim() {
        cmusterbench_trim_memory()
    }
}
