// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc

/// Where the thread of one event loop waits for news: on a condition variable, or, once the loop has awaited a
/// descriptor, in epoll, which this wakes through an event descriptor.
///
/// Sound as `@unchecked Sendable`: all fields are under `mutex`.
final class ParkingLot: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var wakeDescriptor: Int32 = -1
    private var isSignalled = false

    init() {
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
        condition = .allocate(capacity: 1)
        condition.initialize(to: pthread_cond_t())
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        condition.deallocate()
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// Makes ``unpark()`` wake epoll from now on; called by the loop's own thread, which is awake.
    func useDescriptor(_ descriptor: Int32) {
        pthread_mutex_lock(mutex)
        wakeDescriptor = descriptor
        pthread_mutex_unlock(mutex)
    }

    /// Wakes the parked thread, or keeps the one that is about to park from doing so.
    func unpark() {
        pthread_mutex_lock(mutex)
        if wakeDescriptor >= 0 {
            var one: UInt64 = 1
            // It fails only when the counter is full, and then the thread is going to wake anyway.
            _ = write(wakeDescriptor, &one, 8)
        } else {
            isSignalled = true
            pthread_cond_signal(condition)
        }
        pthread_mutex_unlock(mutex)
    }

    /// Waits on the condition.
    ///
    /// - Parameter deadline: The latest end in monotonic nanoseconds; `nil` for none.
    func wait(until deadline: Int64?) {
        pthread_mutex_lock(mutex)
        // A negative number would stand for no deadline.
        let limit = deadline.map { max(0, $0) } ?? -1
        while !isSignalled {
            if cmuster_condition_wait(condition, mutex, limit) == ETIMEDOUT { break }
        }
        isSignalled = false
        pthread_mutex_unlock(mutex)
    }
}
