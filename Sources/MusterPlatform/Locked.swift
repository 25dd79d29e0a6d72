// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A value behind a mutex.
///
/// It wraps `pthread_mutex_t` rather than `Synchronization.Mutex`, because the thread sanitizer sees the former
/// and reports false races around the latter on Linux (its futex is invisible to the sanitizer).
///
/// Sound as `@unchecked Sendable`: `state` is reached only in `withLock`, under the mutex.
package final class Locked<State>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var state: State

    package init(_ state: consuming sending State) {
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
        self.state = state
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deinitialize(count: 1)
        mutex.deallocate()
    }

    /// Runs a closure with exclusive access to the value.
    ///
    /// The closure must not block and must not take the same lock again.
    ///
    /// - Throws: What the closure throws.
    @inline(__always)
    package func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout State) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&state)
    }
}
