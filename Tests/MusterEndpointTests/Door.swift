// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform

/// Holds up tasks until it is opened.
final class Door: Sendable {
    private struct State {
        var isOpen = false
        var waiters: [(continuation: UnsafeContinuation<Void, Never>, loop: EventLoop?)] = []
    }

    private let state = Locked(State())
    /// Signalled whenever a task arrives.
    let arrival = Signal()

    func pass() async {
        await withUnsafeContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiters.append((continuation, EventLoop.current)) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
            arrival.send()
        }
    }

    func open() {
        let waiters = state.withLock { state in
            state.isOpen = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for (continuation, loop) in waiters {
            // From its own thread, for the thread sanitizer's sake.
            if let loop { loop.submit { continuation.resume() } } else { continuation.resume() }
        }
    }
}
