// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization

/// A semaphore that blocks the calling thread: for holding up a thread of the test's own.
///
/// Sound as `@unchecked Sendable`: POSIX semaphores are made to be used from any thread, and the memory lives as
/// long as the gate.
package final class Gate: @unchecked Sendable {
    private let semaphore: UnsafeMutablePointer<sem_t>

    package init() {
        semaphore = .allocate(capacity: 1)
        sem_init(semaphore, 0, 0)
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    package func open() {
        sem_post(semaphore)
    }

    package func pass() {
        while sem_wait(semaphore) != 0 {}
    }
}
