// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Tells one thread of events on another.
///
/// Sound as `@unchecked Sendable`: a semaphore is made for several threads.
final class Signal: @unchecked Sendable {
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        semaphore = .allocate(capacity: 1)
        semaphore.initialize(to: sem_t())
        sem_init(semaphore, 0, 0)
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func send() {
        sem_post(semaphore)
    }

    /// Waits for one event; `false` after far longer than any event takes.
    func wait() -> Bool {
        var limit = timespec()
        clock_gettime(CLOCK_REALTIME, &limit)
        limit.tv_sec += 30
        while sem_timedwait(semaphore, &limit) != 0 {
            if errno != EINTR { return false }
        }
        return true
    }
}
