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

    func lock() {
        pthread_mutex_lock(mutex)
    }

    func unlock() {
        pthread_mutex_unlock(mutex)
    }
}
