// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterLock
import MusterPlatform

/// Collects what happens, and lets a test wait for it.
final class Recorder<Element: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        var observers: [(count: Int, reached: Completion<Void>)] = []
    }

    private let state = Locked(State())

    var all: [Element] { state.withLock { $0.elements } }

    var count: Int { state.withLock { $0.elements.count } }

    /// Adds an element.
    ///
    /// - Returns: How many there are now.
    @discardableResult
    func append(_ element: Element) -> Int {
        let (count, reached) = state.withLock { state in
            state.elements.append(element)
            let count = state.elements.count
            let reached = state.observers.filter { $0.count <= count }.map(\.reached)
            state.observers.removeAll { $0.count <= count }
            return (count, reached)
        }
        for observer in reached { observer.complete(with: ()) }
        return count
    }

    /// Waits until there are so many elements.
    @discardableResult
    func first(_ count: Int) async throws -> [Element] {
        let reached = Completion<Void>()
        let isReached = state.withLock { state in
            if state.elements.count >= count { return true }
            state.observers.append((count, reached))
            return false
        }
        if !isReached { try await reached.wait() }
        return Array(all.prefix(count))
    }
}
