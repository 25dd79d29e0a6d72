// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc

/// Starts native threads.
package enum NativeThread {
    /// Starts a detached thread that runs a closure and ends with it.
    ///
    /// - Parameters:
    ///   - name: The thread's name; the kernel keeps its first 15 bytes.
    ///   - stackSize: The stack's size in bytes, raised to 64 KiB where it is less; the system's default when
    ///     `nil`. The kernel commits it page by page as it is used.
    ///   - body: What the thread runs.
    /// - Throws: ``SystemError`` when the system has no room for another thread.
    package static func start(
        name: String, stackSize: Int? = nil, _ body: @escaping @Sendable () -> Void
    ) throws(SystemError) {
        let code = create(ThreadStart(name: name, body: body), stackSize: stackSize)
        if code != 0 { throw SystemError("pthread_create", code: code) }
    }

    private static let smallestStack = 64 << 10

    private static func create(_ start: ThreadStart, stackSize: Int?) -> Int32 {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        if let stackSize {
            // Rounded up to pages, as the call demands on some systems.
            let (sum, overflow) = max(stackSize, smallestStack).addingReportingOverflow(4095)
            let code = pthread_attr_setstacksize(&attributes, (overflow ? Int.max : sum) & ~4095)
            if code != 0 { return code }
        }
        let argument = Unmanaged.passRetained(start)
        var thread = pthread_t()
        let code = pthread_create(&thread, &attributes, runThread, argument.toOpaque())
        if code != 0 { argument.release() }
        return code
    }

    /// Names the calling thread.
    ///
    /// - Parameter name: The name; the kernel keeps its first 15 bytes.
    package static func setName(_ name: String) {
        cmuster_set_thread_name(name)
    }

    /// The kernel's number of the calling thread.
    package static var currentIdentifier: Int32 {
        cmuster_thread_id()
    }

    /// Whether the calling thread is the process' first.
    package static var isMain: Bool {
        cmuster_is_main_thread()
    }
}

private func runThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
    NativeThread.setName(start.name)
    start.body()
    return nil
}

private final class ThreadStart: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}

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
