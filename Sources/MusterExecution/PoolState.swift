// SPDX-License-Identifier: Apache-2.0

import DequeModule
package import MusterPlatform

/// How many workers a pool has: how many of its entries may run at a time.
package struct PoolSize: Hashable, Sendable {
    package let minimum: Int
    package let maximum: Int
    /// The pool grows while its load, by worker, is as high as this.
    package let growThreshold: Double
    /// The pool shrinks while its load, by worker, is as low as this.
    package let shrinkThreshold: Double

    package init(minimum: Int, maximum: Int, growThreshold: Double = 0.8, shrinkThreshold: Double = 0.4) {
        self.minimum = minimum
        self.maximum = maximum
        self.growThreshold = growThreshold
        self.shrinkThreshold = shrinkThreshold
    }

    package static func fixed(_ size: Int) -> PoolSize { PoolSize(minimum: size, maximum: size) }

    /// The number of workers for a load, which is what runs and what is queued.
    package func adjusted(_ size: Int, load: Int) -> Int {
        var size = max(size, minimum)
        while size < maximum, Double(load) >= growThreshold * Double(size) { size += 1 }
        while size > minimum, Double(load) <= shrinkThreshold * Double(size) { size -= 1 }
        return size
    }
}

/// What runs in a pool, what waits for a worker, and what waits for its time. Pure: it starts nothing, and reads no
/// clock. Thread groups, the pools for blocking work and work pools stand on it. An entry is a ticket, by which the pool's
/// owner knows it: what is generic is not compiled for its use in another module.
package struct PoolState: Sendable {
    /// What becomes of an entry.
    package enum Admission: Hashable, Sendable {
        /// It has a worker, and is to be started.
        case run
        /// It is in the queue.
        case queued
        /// It is refused.
        case full
    }

    private let limits: PoolSize
    private let queueLimit: Int
    private var queue: Deque<UInt64> = []
    /// By the time when they are due, and then as they came.
    private var delayed: Deque<(due: MonotonicInstant, ticket: UInt64)> = []
    private var lastTicket: UInt64 = 0

    /// The workers.
    package private(set) var size: Int
    /// The workers that have an entry.
    package private(set) var running = 0

    /// - Parameters:
    ///   - size: The limits of the number of workers.
    ///   - queueLimit: How many entries may wait for a worker.
    package init(size limits: PoolSize, queueLimit: Int = .max) {
        self.limits = limits
        self.queueLimit = queueLimit
        size = limits.minimum
    }

    /// The entries that wait for a worker.
    package var queueLength: Int { queue.count }
    /// The entries that wait for their time.
    package var delayedCount: Int { delayed.count }
    /// When the next of them is due.
    package var nextDue: MonotonicInstant? { delayed.first?.due }
    /// Whether another entry would be refused.
    package var isFull: Bool { queue.count >= queueLimit && running >= adjustedSize }
    /// Whether an entry waits for a worker that is free.
    package var hasNext: Bool { !queue.isEmpty && running < size }

    /// A number that no entry has.
    package mutating func makeTicket() -> UInt64 {
        lastTicket += 1
        return lastTicket
    }

    // MARK: In

    /// Takes a worker if one is free and nothing has waited longer.
    package mutating func take() -> Bool {
        adjust()
        guard queue.isEmpty, running < size else { return false }
        running += 1
        return true
    }

    /// Puts an entry at the end of the queue.
    ///
    /// - Returns: Its ticket, and whether it is within the limit.
    package mutating func enqueue() -> (ticket: UInt64, isWithinLimit: Bool) {
        let ticket = makeTicket()
        queue.append(ticket)
        return (ticket, queue.count <= queueLimit)
    }

    /// Gives an entry a worker, or puts it in the queue. One that is queued may have a free worker by now, of those that
    /// the pool has grown by: ``next(beyondLimit:)`` says so.
    package mutating func submit() -> (admission: Admission, ticket: UInt64) {
        if take() { return (.run, makeTicket()) }
        // An entry that will have a worker at once takes no room.
        guard queue.count < queueLimit || running < size else { return (.full, 0) }
        return (.queued, enqueue().ticket)
    }

    /// Keeps an entry until its time.
    package mutating func delay(until due: MonotonicInstant) -> UInt64 {
        let ticket = makeTicket()
        let index = delayed.partition { $0.due > due }
        delayed.insert((due, ticket), at: index)
        return ticket
    }

    // MARK: Out

    /// Takes an entry that is due.
    package mutating func popDue(at now: MonotonicInstant) -> UInt64? {
        guard let first = delayed.first, first.due <= now else { return nil }
        delayed.removeFirst()
        return first.ticket
    }

    /// Takes the first entry of the queue for a free worker.
    ///
    /// - Parameter beyondLimit: Whether it gets a worker even if none is free.
    package mutating func next(beyondLimit: Bool = false) -> UInt64? {
        guard running < size || beyondLimit, let first = queue.popFirst() else { return nil }
        running += 1
        return first
    }

    /// The last entry of the queue that is within its limit.
    package var lastWithinLimit: UInt64? {
        queueLimit > 0 && queue.count >= queueLimit ? queue[queueLimit - 1] : nil
    }

    /// A worker is free again.
    package mutating func finish() {
        running -= 1
        adjust()
    }

    /// An entry that had a worker could not be started: it goes back to where it was, to be started when another one is
    /// over.
    ///
    /// - Returns: All that is queued, which is no longer in the pool, when there is no other that could end.
    package mutating func cannotStart(_ ticket: UInt64) -> [UInt64] {
        running -= 1
        queue.insert(ticket, at: queue.partition { $0 > ticket })
        return running == 0 ? withdrawQueue() : []
    }

    /// Takes an entry out that has not been started.
    ///
    /// - Returns: Whether it was there.
    package mutating func withdraw(_ ticket: UInt64) -> Bool {
        let index = queue.partition { $0 >= ticket }
        if index < queue.count, queue[index] == ticket {
            queue.remove(at: index)
            return true
        }
        guard let index = delayed.firstIndex(where: { $0.ticket == ticket }) else { return false }
        delayed.remove(at: index)
        return true
    }

    /// Takes all entries out that have not been started.
    package mutating func withdrawAll() -> [UInt64] {
        defer { delayed = [] }
        return withdrawQueue() + delayed.map(\.ticket)
    }

    private mutating func withdrawQueue() -> [UInt64] {
        defer { queue = [] }
        return Array(queue)
    }

    private mutating func adjust() {
        if limits.minimum != limits.maximum { size = adjustedSize }
    }

    private var adjustedSize: Int { limits.adjusted(size, load: running + queue.count) }
}

extension Deque {
    /// The first index from which on a condition holds; it must hold for all that follow one for which it does.
    fileprivate func partition(_ holds: (Element) -> Bool) -> Int {
        var (low, high) = (startIndex, endIndex)
        while low < high {
            let middle = (low + high) / 2
            if holds(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
