// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform

/// An event that happens when it has been counted down as often as it was told to; tasks wait for it.
package final class Latch: Sendable {
    private struct State {
        var remaining: Int
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Locked<State>

    package init(_ count: Int = 1) {
        state = Locked(State(remaining: count))
    }

    package var remaining: Int { state.withLock { $0.remaining } }

    package func countDown() {
        let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.remaining -= 1
            guard state.remaining == 0 else { return [] }
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    package func wait() async {
        await withCheckedContinuation { waiter in
            let isOver = state.withLock { state in
                if state.remaining > 0 { state.waiters.append(waiter) }
                return state.remaining <= 0
            }
            if isOver { waiter.resume() }
        }
    }
}
