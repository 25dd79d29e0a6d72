// SPDX-License-Identifier: Apache-2.0

import Glibc

extension EventLoop {
    /// Starts a native thread that runs the loop.
    ///
    /// When the system has no room for a thread, it is tried again every 100 ms from the ``auxiliary`` loop: work is
    /// late then, not lost. When there is no room for that loop's thread either, the caller is held up until there
    /// is, as libdispatch does it: there is no other thread left that could try again.
    ///
    /// - Parameters:
    ///   - name: The thread's name.
    ///   - keepAlive: How long the thread waits idle before it ends; `nil` for ever.
    ///   - stackSize: The thread's stack in bytes; the system's default when `nil`.
    ///   - whenDone: Called once, on the thread when it leaves the loop; on the ``auxiliary`` thread when another
    ///     one has taken the loop over before a thread could be had.
    public func startThread(
        name: String, keepAlive: Duration? = nil, stackSize: Int? = nil,
        whenDone: (@Sendable () -> Void)? = nil
    ) {
        markStarting()
        while true {
            do {
                return try launch(name: name, keepAlive: keepAlive, stackSize: stackSize, whenDone: whenDone)
            } catch {
                guard self === EventLoop.auxiliary else { break }
                usleep(10_000)
            }
        }
        // The loop stays marked as starting, so that work arriving meanwhile begins no second series of tries.
        EventLoop.auxiliary.submit { [self] in
            EventLoop.auxiliary.schedule(at: .now.advanced(by: .milliseconds(100))) { [self] in
                guard !isRunning else {
                    whenDone?()
                    return
                }
                startThread(name: name, keepAlive: keepAlive, stackSize: stackSize, whenDone: whenDone)
            }
        }
    }

    /// Starts a native thread that runs the loop, or reports that there is none to be had.
    ///
    /// - Parameters:
    ///   - name: The thread's name.
    ///   - keepAlive: How long the thread waits idle before it ends; `nil` for ever.
    ///   - stackSize: The thread's stack in bytes; the system's default when `nil`.
    ///   - whenDone: Called on the thread when it leaves the loop.
    /// - Throws: ``SystemError`` when the system has no room for another thread.
    public func attachThread(
        name: String, keepAlive: Duration? = nil, stackSize: Int? = nil,
        whenDone: (@Sendable () -> Void)? = nil
    ) throws(SystemError) {
        markStarting()
        do {
            try launch(name: name, keepAlive: keepAlive, stackSize: stackSize, whenDone: whenDone)
        } catch {
            shared.withLock { if case .starting = $0.attachment { $0.attachment = .detached } }
            throw error
        }
    }

    private func markStarting() {
        shared.withLock { if case .detached = $0.attachment { $0.attachment = .starting } }
    }

    private func launch(
        name: String, keepAlive: Duration?, stackSize: Int?, whenDone: (@Sendable () -> Void)?
    ) throws(SystemError) {
        try threadSource(name, stackSize) { [self] in
            // Whoever runs the loop already does what this thread was started for.
            try? run(keepAlive: keepAlive)
            whenDone?()
        }
    }

    /// Claims the loop for a thread that will call ``run(keepAlive:)`` later, so that arriving work starts none.
    ///
    /// - Returns: `false` when a thread runs the loop already or is about to.
    public func claim() -> Bool {
        shared.withLock { state in
            guard case .detached = state.attachment else { return false }
            state.attachment = .starting
            return true
        }
    }
}
