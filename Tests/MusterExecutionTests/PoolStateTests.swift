// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterPlatform
import MusterTestSupport
import Testing

/// The decisions of a pool, without threads and without a clock. The figures of the sizes are upstream's.
@Suite struct PoolStateTests {
    @Test(arguments: [
        // size, load, minimum, maximum, and what it becomes
        [0, 0, 1, 100, 1],
        [0, 0, 42, 100, 42],
        [100, 0, 42, 100, 42],
        [100, 100, 42, 100, 100],
        [100, 100, 42, 200, 126],
        [100, 70, 42, 200, 100],
        [100, 90, 42, 200, 113],
    ])
    func `the size follows the load between its thresholds`(_ row: [Int]) {
        #expect(PoolSize(minimum: row[2], maximum: row[3]).adjusted(row[0], load: row[1]) == row[4])
    }

    @Test func `one after the other needs one worker, ten at once need ten, and then one again`() {
        var pool = PoolState(size: PoolSize(minimum: 1, maximum: 20))
        for _ in 0..<5 {
            #expect(pool.submit().admission == .run)
            pool.finish()
            #expect(pool.size == 1)
        }
        for _ in 0..<10 { #expect(pool.submit().admission == .run) }
        #expect(pool.running == 10 && (10...12).contains(pool.size))
        for _ in 0..<10 { pool.finish() }
        #expect(pool.size == 1 && pool.running == 0)
    }

    @Test func `a threshold above one queues first`() {
        var pool = PoolState(size: PoolSize(minimum: 1, maximum: 2, growThreshold: 3), queueLimit: 5)
        let entries = (0..<3).map { _ in pool.submit() }
        #expect(entries.map(\.admission) == [.run, .queued, .queued])
        #expect(pool.size == 1 && !pool.hasNext)
        #expect(pool.submit().admission == .queued)
        // The new worker is for what has waited longest.
        #expect(pool.size == 2 && pool.hasNext)
        #expect(pool.next() == entries[1].ticket)
        #expect(pool.next() == nil && pool.queueLength == 2)
    }

    @Test func `with one worker and room for one, the third is refused`() {
        var pool = PoolState(size: .fixed(1), queueLimit: 1)
        let entries = (0..<2).map { _ in pool.submit() }
        #expect(entries.map(\.admission) == [.run, .queued])
        #expect(pool.isFull && pool.submit().admission == .full)
        #expect(pool.queueLength == 1 && pool.running == 1)
        // A caller that waits for room stands behind the limit, and is within it when one has gone.
        let (waiting, isWithinLimit) = pool.enqueue()
        #expect(!isWithinLimit && pool.lastWithinLimit == entries[1].ticket)
        pool.finish()
        #expect(pool.next() == entries[1].ticket && pool.lastWithinLimit == waiting)
        #expect(PoolState(size: .fixed(1), queueLimit: 0).lastWithinLimit == nil)
    }

    @Test func `what has gone from the queue is not started`() {
        var pool = PoolState(size: .fixed(1))
        let tickets = (0..<20).map { _ in pool.submit().ticket }
        #expect(Set(tickets).count == 20)
        #expect(pool.withdraw(tickets[0]) == false, "it runs")
        #expect(pool.withdraw(tickets[7]) == true)
        #expect(pool.withdraw(tickets[7]) == false)
        var order: [UInt64] = []
        while true {
            pool.finish()
            guard let next = pool.next() else { break }
            order.append(next)
        }
        #expect(order == tickets[1...].filter { $0 != tickets[7] })
        #expect(pool.running == 0)
    }

    @Test func `an entry without a thread goes back to its place, or all are refused`() {
        var pool = PoolState(size: .fixed(2))
        let (one, _, three) = (pool.submit().ticket, pool.submit().ticket, pool.submit().ticket)
        #expect(pool.cannotStart(one) == [])
        #expect(pool.running == 1 && pool.queueLength == 2)
        pool.finish()
        #expect(pool.next() == one)
        // Both at once, the later one first.
        #expect(pool.next() == three)
        #expect(pool.cannotStart(three) == [])
        #expect(pool.cannotStart(one) == [one, three])
        #expect(pool.running == 0 && pool.queueLength == 0)
    }

    @Test func `delayed entries are due by time, equal ones in the order in which they came`() {
        var pool = PoolState(size: .fixed(1))
        func at(_ nanoseconds: Int64) -> MonotonicInstant { MonotonicInstant(nanoseconds: nanoseconds) }
        let tickets = [50, 10, 30, 10, 20].map { pool.delay(until: at($0)) }
        #expect(pool.nextDue == at(10) && pool.popDue(at: at(9)) == nil)
        #expect(pool.withdraw(tickets[2]) == true)
        // An earlier one comes first, also when another was already waited for.
        let early = pool.delay(until: at(1))
        #expect(pool.nextDue == at(1))
        var order: [UInt64] = []
        while let ticket = pool.popDue(at: at(20)) { order.append(ticket) }
        #expect(order == [early, tickets[1], tickets[3], tickets[4]])
        #expect(pool.nextDue == at(50) && pool.delayedCount == 1)
        let queued = [pool.submit().ticket, pool.submit().ticket][1]
        #expect(pool.withdrawAll() == [queued, tickets[0]] && pool.delayedCount == 0 && pool.queueLength == 0)
    }

    @Test func `nothing is lost or doubled, whatever happens in which order`() {
        var generator = SplitMix64(seed: 11)
        for round in 0..<40 {
            let size = PoolSize(minimum: 1 + round % 3, maximum: 4, growThreshold: [0.5, 1, 2][round % 3])
            var pool = PoolState(size: size, queueLimit: round % 5)
            var (submitted, over, running, queued) = (0, 0, Set<UInt64>(), Set<UInt64>())
            func drain() {
                while let ticket = pool.next() {
                    running.insert(ticket)
                    #expect(queued.remove(ticket) == ticket)
                }
            }
            for _ in 0..<300 {
                switch Int.random(in: 0..<4, using: &generator) {
                case 0, 1:
                    let (admission, ticket) = pool.submit()
                    if admission != .full { submitted += 1 }
                    if admission == .run { running.insert(ticket) }
                    if admission == .queued { queued.insert(ticket) }
                case 2 where !running.isEmpty:
                    running.removeFirst()
                    over += 1
                    pool.finish()
                default:
                    guard let ticket = queued.min() else { break }
                    #expect(pool.withdraw(ticket) == true)
                    queued.remove(ticket)
                    over += 1
                }
                drain()
                #expect(pool.running == running.count && pool.queueLength == queued.count)
                #expect(submitted == over + running.count + queued.count)
                #expect(queued.isEmpty || pool.running >= pool.size, "a worker is free although an entry waits")
                #expect((size.minimum...size.maximum).contains(pool.size))
                #expect(pool.queueLength <= round % 5)
            }
        }
    }
}
