// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import MusterExecution
import MusterLock
import MusterPlatform

/// What has happened, in its order; a test waits for it.
final class Journal: Sendable {
    private struct State {
        var entries: [String] = []
        var observers: [(isSeen: @Sendable ([String]) -> Bool, seen: Completion<Void>)] = []
    }

    private let state = Locked(State())

    var all: [String] { state.withLock { $0.entries } }

    func note(_ entry: String) {
        let seen = state.withLock { state in
            state.entries.append(entry)
            let entries = state.entries
            let seen = state.observers.filter { $0.isSeen(entries) }.map(\.seen)
            state.observers.removeAll { $0.isSeen(entries) }
            return seen
        }
        for completion in seen { completion.complete(with: ()) }
    }

    /// Waits until something has happened.
    func wait(for entry: String) async throws {
        try await wait { $0.contains(entry) }
    }

    /// Waits until the entries are as they should be.
    func wait(until isSeen: @escaping @Sendable ([String]) -> Bool) async throws {
        let seen = Completion<Void>()
        let isThere = state.withLock { state in
            if isSeen(state.entries) { return true }
            state.observers.append((isSeen, seen))
            return false
        }
        if !isThere { try await seen.wait() }
    }
}
#endif
