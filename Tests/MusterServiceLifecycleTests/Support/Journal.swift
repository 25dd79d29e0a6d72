// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import MusterExecution
import MusterPlatform

/// What has happened, in its order; a test waits for it.
final class Journal: Sendable {
    private struct State {
        var entries: [String] = []
        var observers: [(entry: String, seen: Completion<Void>)] = []
    }

    private let state = Locked(State())

    var all: [String] { state.withLock { $0.entries } }

    func note(_ entry: String) {
        let seen = state.withLock { state in
            state.entries.append(entry)
            defer { state.observers.removeAll { $0.entry == entry } }
            return state.observers.filter { $0.entry == entry }.map(\.seen)
        }
        for observer in seen { observer.complete(with: ()) }
    }

    /// Waits until something has happened.
    func wait(for entry: String) async throws {
        let seen = Completion<Void>()
        let isThere = state.withLock { state in
            if state.entries.contains(entry) { return true }
            state.observers.append((entry, seen))
            return false
        }
        if !isThere { try await seen.wait() }
    }
}
#endif
