// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform

/// How many programs run at once, so that those of all tests together do not keep each other from running in time.
final class Places: Sendable {
    static let shared = Places(4)

    private struct State {
        var free: Int
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Locked<State>

    init(_ count: Int) {
        state = Locked(State(free: count))
    }

    func enter() async {
        await withCheckedContinuation { waiter in
            let isIn = state.withLock { state in
                guard state.free > 0 else {
                    state.waiters.append(waiter)
                    return false
                }
                state.free -= 1
                return true
            }
            if isIn { waiter.resume() }
        }
    }

    func leave() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.waiters.isEmpty else { return state.waiters.removeFirst() }
            state.free += 1
            return nil
        }
        next?.resume()
    }
}
