// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Keeps the main thread waiting, as an asynchronous `main` does.
///
/// Sound as `@unchecked Sendable`: a semaphore is made for being shared.
final class DispatchlessLatch: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() {
        sem_init(semaphore, 0, 0)
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func open() {
        sem_post(semaphore)
    }

    func wait() {
        while sem_wait(semaphore) != 0 {}
    }
}
