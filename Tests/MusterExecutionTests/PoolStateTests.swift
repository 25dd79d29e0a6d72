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
        var pool = PoolState<Int>(size: PoolSize(minimum: 1, maximum: 20))
        for number in 0..<5 {
            #expect(pool.submit(number).admission == .run)
            pool.finish()
            #expect(pool.size == 1)
        }
        for number in 0..<10 { #expect(pool.submit(number).admission == .run) }
        #expect(pool.running == 10 && (10...12).contains(pool.size))
        for _ in 0..<10 { pool.finish() }
        #expect(pool.size == 1 && pool.running == 0)
    }

    @Test func `a threshold above one queues first`() {
        var pool = PoolState<Int>(size: PoolSize(minimum: 1, maximum: 2, growThreshold: 3), queueLimit: 5)
        #expect((0..<3).map { pool.submit($0).admission } == [.run, .queued, .queued])
        #expect(pool.size == 1 && !pool.hasNext)
        #expect(pool.submit(3).admission == .queued)
        // The new worker is for what has waited longest.
        #expect(pool.size == 2 && pool.hasNext)
        #expect(pool.next()?.entry == 1)
        #expect(pool.next() == nil && pool.queueLength == 2)
    }

    @Test func `with one worker and room for one, the third is refused`() {
        var pool = PoolState<String>(size: .fixed(1), queueLimit: 1)
        #expect(["a", "b"].map { pool.submit($0).admission } == [.run, .queued])
        #expect(pool.isFull && pool.submit("c").admission == .full)
        #expect(pool.queueLength == 1 && pool.running == 1)
        // A caller that waits for room stands behind the limit, and is within it when one has gone.
        let (waiting, isWithinLimit) = pool.enqueue("d")
        #expect(!isWithinLimit && pool.lastWithinLimit?.entry == "b")
        pool.finish()
        #expect(pool.next()?.entry == "b" && pool.lastWithinLimit?.ticket == waiting)
        #expect(PoolState<Int>(size: .fixed(1), queueLimit: 0).lastWithinLimit == nil)
    }

    @Test func `what has gone from the queue is not started`() {
        var pool = PoolState<Int>(size: .fixed(1))
        let tickets = (0..<20).map { pool.submit($0).ticket }
        #expect(Set(tickets).count == 20)
        #expect(pool.withdraw(tickets[0]) == nil, "it runs")
        #expect(pool.withdraw(tickets[7]) == 7 && pool.withdraw(tickets[7]) == nil)
        var order: [Int] = []
        while true {
            pool.finish()
            guard let next = pool.next() else { break }
            order.append(next.entry)
        }
        #expect(order == (1..<20).filter { $0 != 7 })
        #expect(pool.running == 0)
    }

    @Test func `an entry without a thread goes back to its place, or all are refused`() {
        var pool = PoolState<Int>(size: .fixed(2))
        let (one, _, three) = (pool.submit(1).ticket, pool.submit(2).ticket, pool.submit(3).ticket)
        #expect(pool.cannotStart(1, ticket: one) == [])
        #expect(pool.running == 1 && pool.queueLength == 2)
        pool.finish()
        #expect(pool.next()?.entry == 1)
        // Both at once, the later one first.
        #expect(pool.next()?.entry == 3)
        #expect(pool.cannotStart(3, ticket: three) == [])
        #expect(pool.cannotStart(1, ticket: one) == [1, 3])
        #expect(pool.running == 0 && pool.queueLength == 0)
    }

    @Test func `delayed entries are due by time, equal ones in the order in which they came`() {
        var pool = PoolState<Int>(size: .fixed(1))
        func at(_ nanoseconds: Int64) -> MonotonicInstant { MonotonicInstant(nanoseconds: nanoseconds) }
        let tickets = [50, 10, 30, 10, 20].enumerated().map { pool.delay($0.offset, until: at($0.element)) }
        #expect(pool.nextDue == at(10) && pool.popDue(at: at(9)) == nil)
        #expect(pool.withdraw(tickets[2]) == 2)
        // An earlier one comes first, also when another was already waited for.
        _ = pool.delay(5, until: at(1))
        #expect(pool.nextDue == at(1))
        var order: [Int] = []
        while let (_, entry) = pool.popDue(at: at(20)) { order.append(entry) }
        #expect(order == [5, 1, 3, 4])
        #expect(pool.nextDue == at(50) && pool.delayedCount == 1)
        _ = (pool.submit(6), pool.submit(7))
        #expect(pool.withdrawAll() == [7, 0] && pool.delayedCount == 0 && pool.queueLength == 0)
    }

    @Test func `nothing is lost or doubled, whatever happens in which order`() {
        var generator = SplitMix64(seed: 11)
        for round in 0..<40 {
            let size = PoolSize(minimum: 1 + round % 3, maximum: 4, growThreshold: [0.5, 1, 2][round % 3])
            var pool = PoolState<Int>(size: size, queueLimit: round % 5)
            var (submitted, over, running, queued) = (0, 0, [Int](), [UInt64: Int]())
            func drain() {
                while let (ticket, entry) = pool.next() {
                    running.append(entry)
                    #expect(queued.removeValue(forKey: ticket) == entry)
                }
            }
            for number in 0..<300 {
                switch Int.random(in: 0..<4, using: &generator) {
                case 0, 1:
                    let (admission, ticket) = pool.submit(number)
                    if admission != .full { submitted += 1 }
                    if admission == .run { running.append(number) }
                    if admission == .queued { queued[ticket] = number }
                case 2 where !running.isEmpty:
                    running.removeLast()
                    over += 1
                    pool.finish()
                default:
                    guard let ticket = queued.keys.min() else { break }
                    #expect(pool.withdraw(ticket) == queued.removeValue(forKey: ticket))
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
