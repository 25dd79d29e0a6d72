// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What tells one version of a file from the next without reading it. Links are followed, so that one that is turned
/// to another file, as Kubernetes does with its volumes, is a change.
struct FileStamp: Hashable {
    private var device: UInt = 0
    private var inode: UInt = 0
    private var size = 0
    private var modifiedSeconds = 0
    private var modifiedNanoseconds = 0
    private var changedSeconds = 0
    private var changedNanoseconds = 0
    /// `errno` when it cannot be looked at.
    private var problem: Int32 = 0

    /// Looks at a file.
    init(path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else {
            problem = errno
            return
        }
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
        size = Int(status.st_size)
        modifiedSeconds = status.st_mtim.tv_sec
        modifiedNanoseconds = status.st_mtim.tv_nsec
        // It moves with each change of the content, whatever is done to the other.
        changedSeconds = status.st_ctim.tv_sec
        changedNanoseconds = status.st_ctim.tv_nsec
    }
}
