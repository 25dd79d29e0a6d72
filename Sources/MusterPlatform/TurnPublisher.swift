// SPDX-License-Identifier: Apache-2.0

package import Synchronization

/// Where an event loop tells another process how it gets on: cells in memory that both have mapped.
///
/// The other process, which watches, asks to be woken instead of looking again and again: it stores in `attention` the
/// instant at which it will look next by itself, and reads the cells once more. A loop whose turn could count as hung
/// before that instant takes the request out and calls `notify`. Both sides store first and load then, sequentially
/// consistent, so that of a turn and a request that meet, at least one side sees the other.
///
/// Sound as `@unchecked Sendable`: the pointers never change and lead to atomics, which `owner` keeps mapped.
package final class TurnPublisher: @unchecked Sendable {
    let turnStart: UnsafeMutablePointer<Atomic<Int64>>
    let lastTurn: UnsafeMutablePointer<Atomic<Int64>>?
    let turns: UnsafeMutablePointer<Atomic<UInt64>>?
    private let sign: Int64
    private let attention: UnsafeMutablePointer<Atomic<Int64>>
    private let limit: UnsafeMutablePointer<Atomic<Int64>>
    private let owner: any AnyObject & Sendable
    private let notify: @Sendable () -> Bool

    /// Creates a publisher.
    ///
    /// - Parameters:
    ///   - turnStart: Receives the instant at which the present turn began, in monotonic nanoseconds; 0 while the
    ///     loop sleeps.
    ///   - isNegated: Whether `turnStart` receives the instant with the opposite sign, which tells it from a deadline.
    ///   - lastTurn: Receives the instant at which the latest turn began.
    ///   - turns: Receives the number of turns.
    ///   - attention: The instant of the watcher's next look; 0 when it has not asked to be woken.
    ///   - limit: How many nanoseconds a turn may take, told by the watcher.
    ///   - owner: Keeps the cells' memory.
    ///   - notify: Wakes the watcher, on the loop's thread; must not block. `false` when it could not, so that the
    ///     next turn tries again.
    package init(
        turnStart: UnsafeMutablePointer<Atomic<Int64>>, isNegated: Bool = false,
        lastTurn: UnsafeMutablePointer<Atomic<Int64>>? = nil, turns: UnsafeMutablePointer<Atomic<UInt64>>? = nil,
        attention: UnsafeMutablePointer<Atomic<Int64>>,
        limit: UnsafeMutablePointer<Atomic<Int64>>, owner: any AnyObject & Sendable,
        notify: @escaping @Sendable () -> Bool
    ) {
        self.turnStart = turnStart
        sign = isNegated ? -1 : 1
        self.lastTurn = lastTurn
        self.turns = turns
        self.attention = attention
        self.limit = limit
        self.owner = owner
        self.notify = notify
    }

    @inline(__always)
    package func begin(at start: Int64) {
        if let lastTurn { lastTurn.pointee.store(start, ordering: .relaxed) }
        turnStart.pointee.store(sign &* start, ordering: .sequentiallyConsistent)
        let nextLook = attention.pointee.load(ordering: .sequentiallyConsistent)
        if nextLook != 0 { wake(for: start &+ limit.pointee.load(ordering: .relaxed), before: nextLook) }
    }

    @inline(__always)
    package func end(turns count: UInt64) {
        if let turns { turns.pointee.store(count, ordering: .relaxed) }
    }

    @inline(__always)
    package func sleep() {
        turnStart.pointee.store(0, ordering: .relaxed)
    }

    /// Wakes the watcher when something could count as hung before it looks.
    ///
    /// - Parameters:
    ///   - instant: When that would be, in monotonic nanoseconds. It must have been stored where the watcher reads
    ///     it, sequentially consistent, before `nextLook` was loaded.
    ///   - nextLook: What was found in `attention`.
    @inline(never)
    package func wake(for instant: Int64, before nextLook: Int64) {
        guard instant < nextLook, attention.pointee.exchange(0, ordering: .sequentiallyConsistent) != 0 else { return }
        guard !notify() else { return }
        // Unless the watcher has asked anew meanwhile.
        _ = attention.pointee.compareExchange(
            expected: 0, desired: nextLook, ordering: .sequentiallyConsistent)
    }
}
