// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A plain mutex, for deadlocks on purpose.
///
/// Sound as `@unchecked Sendable`: a mutex is made for being shared.
final class BlockingLock: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        mutex.deallocate()
    }

    /// Backtraces lose the caller of the C library's function, which has no frame pointer: so that this is the one to
    /// be lost, it is a function with a frame of its own.
    @inline(never)
    func lock() {
        precondition(pthread_mutex_lock(mutex) == 0)
    }

    func unlock() {
        pthread_mutex_unlock(mutex)
    }
}
