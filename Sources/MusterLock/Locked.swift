// SPDX-License-Identifier: Apache-2.0

public import Glibc

/// A value behind a mutex. Copies are the same value.
///
/// Public, in a module that nobody else imports, because a public function alone is compiled into its callers'
/// modules: a generic one that is called takes longer than the lock.
///
/// It wraps `pthread_mutex_t` rather than `Synchronization.Mutex`, because the thread sanitizer sees the former
/// and reports false races around the latter on Linux (its futex is invisible to the sanitizer).
///
/// Sound as `@unchecked Sendable`: the value is reached only in `withLock`, under the mutex.
public struct Locked<State>: @unchecked Sendable {
    @usableFromInline let storage: ManagedBuffer<pthread_mutex_t, State>

    /// Creates a value behind a mutex of its own.
    @inlinable
    public init(_ state: consuming sending State) {
        storage = LockStorage.create(minimumCapacity: 1) { _ in pthread_mutex_t() }
        let (mutex, value) = storage.withUnsafeMutablePointers { ($0, $1) }
        pthread_mutex_init(mutex, nil)
        value.initialize(to: state)
    }

    /// Runs a closure with exclusive access to the value.
    ///
    /// The closure must not block and must not take the same lock again.
    ///
    /// - Throws: What the closure throws.
    @inlinable @inline(__always)
    public func withLock<Result, Failure: Error>(
        _ body: (inout State) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        // The mutex and the value have one address for life, in one piece of memory with their reference count.
        let (mutex, value) = storage.withUnsafeMutablePointers { ($0, $1) }
        pthread_mutex_lock(mutex)
        defer {
            pthread_mutex_unlock(mutex)
            withExtendedLifetime(storage) {}
        }
        return try body(&value.pointee)
    }
}

@usableFromInline
final class LockStorage<State>: ManagedBuffer<pthread_mutex_t, State> {
    deinit {
        withUnsafeMutablePointers { mutex, value in
            value.deinitialize(count: 1)
            pthread_mutex_destroy(mutex)
        }
    }
}
