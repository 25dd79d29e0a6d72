// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterPlatform

/// Lets asynchronous operations of one kind take turns, in the order in which they ask.
///
/// An operation that is asked for from inside another one of the same kind does not wait for it: it would wait for
/// itself.
final class Turns: Sendable {
    /// One turn, from when it is had to ``end()``.
    final class Turn: Sendable {
        fileprivate let turns: Turns
        fileprivate let outer: Turn?
        private let isOver = Locked(false)

        fileprivate init(of turns: Turns, inside outer: Turn?) {
            self.turns = turns
            self.outer = outer
        }

        /// Passes the turn on.
        func end() {
            let isFirst = isOver.withLock { isOver in
                defer { isOver = true }
                return !isOver
            }
            if isFirst { turns.pass() }
        }

        fileprivate var isUnderWay: Bool { isOver.withLock { !$0 } }
    }

    private struct State {
        var isTaken = false
        var waiting: [Completion<Void>] = []
    }

    /// The turn in which the calling task runs. What the task starts inherits it, so it may be over by now.
    @TaskLocal static var current: Turn?

    private let state = Locked(State())

    /// Waits for a turn.
    ///
    /// - Parameters:
    ///   - deadline: The latest instant; `nil` waits without end.
    ///   - clock: The clock of the deadline.
    /// - Returns: The turn, which has to be ended; `nil` when the caller is in one already.
    /// - Throws: `TimeLimitExceeded` at the deadline; `CancellationError` when the calling task is cancelled.
    func take(until deadline: MonotonicInstant? = nil, clock: any RuntimeClock) async throws -> Turn? {
        if isHeldByCaller { return nil }
        let mine = Completion<Void>()
        let isFree = state.withLock { state in
            guard state.isTaken else {
                state.isTaken = true
                return true
            }
            state.waiting.append(mine)
            return false
        }
        if !isFree {
            do {
                try await mine.wait(until: deadline, clock: clock, operation: "what is under way")
            } catch {
                let isHad = state.withLock { state in
                    state.waiting.removeAll { $0 === mine }
                    return mine.value != nil
                }
                if isHad { pass() }
                throw error
            }
        }
        return Turn(of: self, inside: Self.current)
    }

    private var isHeldByCaller: Bool {
        var turn = Self.current
        while let candidate = turn {
            if candidate.turns === self, candidate.isUnderWay { return true }
            turn = candidate.outer
        }
        return false
    }

    private func pass() {
        let next: Completion<Void>? = state.withLock { state in
            guard state.waiting.isEmpty else { return state.waiting.removeFirst() }
            state.isTaken = false
            return nil
        }
        next?.complete(with: ())
    }
}
