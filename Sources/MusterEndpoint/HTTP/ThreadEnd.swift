// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Lets threads wait for the end of another one.
///
/// Sound as `@unchecked Sendable`: a semaphore is made for several threads.
final class ThreadEnd: @unchecked Sendable {
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

    func signal() {
        sem_post(semaphore)
    }

    func wait() {
        while sem_wait(semaphore) != 0, errno == EINTR {}
        // For the next one who waits.
        sem_post(semaphore)
    }
}
