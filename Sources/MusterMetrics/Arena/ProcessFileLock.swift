// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A lock between processes that append to one arena; the kernel releases it when its holder dies.
///
/// It is a record lock of POSIX, which belongs to a process: an inherited descriptor shares its open file
/// description with its origin, so that the locks tied to that description would exclude nobody. Threads of one
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
