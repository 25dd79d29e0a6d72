// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

extension OwnedDescriptor {
    /// The number by which the kernel knows the file; no other of its kind has it while this one is open.
    var inode: UInt64 {
        get throws(SystemError) {
            var status = stat()
            guard fstat(rawValue, &status) == 0 else { throw SystemError("fstat") }
            return UInt64(status.st_ino)
        }
    }
}
