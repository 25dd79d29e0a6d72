// SPDX-License-Identifier: Apache-2.0

import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite struct TimerHeapTests {
    private enum Phase {
        case reserved
        case cancelledEarly
        case armed(deadline: Int64, tolerance: Int64, payload: Int)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `behaves as a naive list of timers does`(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var heap = TimerHeap<Int>()
        var live: [(token: TimerHeap<Int>.Token, phase: Phase)] = []
        var stale: [TimerHeap<Int>.Token] = []
        var most = 0
        var failures = 0
        func expect(_ condition: Bool) {
            if !condition { failures += 1 }
        }
        for step in 0..<100_000 {
            switch Int.random(in: 0..<10, using: &generator) {
            case 0..<3 where live.count < 64:
                live.append((heap.reserve(), .reserved))
                most = max(most, live.count)
            case 3..<6:
                guard let index = live.indices.randomElement(using: &generator) else { continue }
                let deadline = Int64.random(in: 0..<500, using: &generator)
                let tolerance = Bool.random(using: &generator) ? Int64.random(in: 0..<200, using: &generator) : 0
                let isArmed = heap.arm(
                    live[index].token, deadline: deadline, tolerance: tolerance, payload: step)
                switch live[index].phase {
                case .reserved:
                    expect(isArmed)
                    live[index].phase = .armed(deadline: deadline, tolerance: tolerance, payload: step)
                case .cancelledEarly:
                    expect(!isArmed)
                    stale.append(live.remove(at: index).token)
                case .armed:
                    expect(!isArmed)
                }
            case 6..<8:
                guard let index = live.indices.randomElement(using: &generator) else { continue }
                switch (heap.cancel(live[index].token), live[index].phase) {
                case (.disarmed(let found), .armed(_, _, let payload)):
                    expect(found == payload)
                    stale.append(live.remove(at: index).token)
                case (.noted, .reserved), (.noted, .cancelledEarly):
                    live[index].phase = .cancelledEarly
                default:
                    expect(false)
                }
            case 8:
                guard let token = stale.randomElement(using: &generator) else { continue }
                if case .stale = heap.cancel(token) {} else { expect(false) }
                expect(!heap.arm(token, deadline: 0, payload: -1))
            default:
                let now = Int64.random(in: 0..<500, using: &generator)
                let timers = live.compactMap { timer -> (deadline: Int64, latest: Int64)? in
                    guard case .armed(let deadline, let tolerance, _) = timer.phase else { return nil }
                    return (deadline, deadline + tolerance)
                }
                let waking = heap.waking()?.instant
                if let limit = timers.map(\.latest).min(), let waking {
                    // Nobody waits in vain, nobody too long, and at least one is punctual.
                    expect(waking <= limit && timers.contains { $0.deadline == waking })
                } else {
                    expect(waking == nil && timers.isEmpty)
                }
                let armed = live.indices.compactMap { index -> (Int, Int64, Int)? in
                    if case .armed(let deadline, _, let payload) = live[index].phase {
                        (index, deadline, payload)
                    } else {
                        nil
                    }
                }
                let least = armed.map(\.1).min()
                expect(heap.earliest == least)
                expect(heap.count == armed.count)
                guard let due = heap.popDue(at: now) else {
                    expect(least.map { $0 > now } ?? true)
                    continue
                }
                expect(due.deadline == least && due.deadline <= now)
                guard let found = armed.first(where: { $0.1 == due.deadline && $0.2 == due.payload }) else {
                    expect(false)
                    continue
                }
                stale.append(live.remove(at: found.0).token)
            }
        }
        #expect(failures == 0)
        #expect(heap.slotCount == most, "slots are reused before new ones are made")
    }

    @Test func `fires in the order of deadlines`() {
        var generator = SplitMix64(seed: 9)
        var heap = TimerHeap<Int64>()
        var armed = 0
        for _ in 0..<1000 {
            let deadline = Int64.random(in: .min ... .max, using: &generator)
            if heap.arm(heap.reserve(), deadline: deadline, payload: deadline) { armed += 1 }
        }
        #expect(armed == 1000)
        var last = Int64.min
        while let (deadline, payload) = heap.popDue(at: .max) {
            #expect(deadline >= last && deadline == payload)
            last = deadline
            armed -= 1
        }
        #expect(armed == 0 && heap.count == 0)
    }

    /// Sleeps from waking to waking until no timer is left.
    ///
    /// - Returns: When each timer has fired, and how many wakings that took.
    private func drain(_ heap: inout TimerHeap<Int>) -> (fired: [Int: Int64], wakings: Int) {
        var fired: [Int: Int64] = [:]
        var wakings = 0
        while let waking = heap.waking()?.instant {
            wakings += 1
            let before = fired.count
            while let timer = heap.popDue(at: waking) { fired[timer.payload] = waking }
            guard fired.count > before else { break }
        }
        return (fired, wakings)
    }

    @Test(arguments: [1, 100, 900])
    func `as few wakings as can be serve all timers, none early and none later than it may be`(span: Int64) {
        var generator = SplitMix64(seed: UInt64(span))
        var heap = TimerHeap<Int>()
        let timers = (0..<1000).map { _ in
            (
                deadline: Int64.random(in: 0..<10_000, using: &generator),
                tolerance: Int64.random(in: 0..<span, using: &generator)
            )
        }
        for (number, timer) in timers.enumerated() {
            _ = heap.arm(heap.reserve(), deadline: timer.deadline, tolerance: timer.tolerance, payload: number)
        }
        let (fired, wakings) = drain(&heap)
        var faults = 0
        for (number, timer) in timers.enumerated() {
            guard let instant = fired[number], instant >= timer.deadline, instant <= timer.deadline + timer.tolerance
            else {
                faults += 1
                continue
            }
        }
        #expect(faults == 0)
        // The fewest points that meet all intervals: each time the first end of those not met yet.
        var fewest = 0
        var last = Int64.min
        for timer in timers.sorted(by: { $0.deadline + $0.tolerance < $1.deadline + $1.tolerance })
        where timer.deadline > last {
            fewest += 1
            last = timer.deadline + timer.tolerance
        }
        #expect(wakings == fewest)
    }

    @Test func `a timer without a neighbour is punctual, whatever it tolerates`() {
        var heap = TimerHeap<Int>()
        _ = heap.arm(heap.reserve(), deadline: 10, tolerance: 100, payload: 1)
        #expect(heap.waking() == .init(instant: 10, slack: 100))
        _ = heap.arm(heap.reserve(), deadline: 111, tolerance: 100, payload: 2)
        #expect(heap.waking() == .init(instant: 10, slack: 100))
        #expect(drain(&heap).fired == [1: 10, 2: 111])
    }

    @Test func `one that tolerates nothing is punctual among others that do`() {
        var heap = TimerHeap<Int>()
        for number in 0..<10 {
            _ = heap.arm(heap.reserve(), deadline: Int64(number), tolerance: 100, payload: number)
        }
        #expect(heap.waking() == .init(instant: 9, slack: 91))
        _ = heap.arm(heap.reserve(), deadline: 50, tolerance: 10, payload: 11)
        #expect(heap.waking() == .init(instant: 50, slack: 10))
        _ = heap.arm(heap.reserve(), deadline: 4, tolerance: 0, payload: 10)
        #expect(heap.waking() == .init(instant: 4, slack: 0))
        let (fired, wakings) = drain(&heap)
        #expect(fired[10] == 4 && fired[0] == 4 && fired[5] == 50 && fired[11] == 50 && wakings == 2)
    }

    @Test func `the waking follows when the timers that it is for are cancelled`() {
        var heap = TimerHeap<Int>()
        let first = heap.reserve()
        let deciding = heap.reserve()
        let last = heap.reserve()
        _ = heap.arm(first, deadline: 10, tolerance: 100, payload: 1)
        _ = heap.arm(deciding, deadline: 20, tolerance: 5, payload: 2)
        _ = heap.arm(last, deadline: 50, tolerance: 50, payload: 3)
        #expect(heap.waking()?.instant == 20)
        _ = heap.cancel(deciding)
        #expect(heap.waking()?.instant == 50)
        _ = heap.cancel(last)
        #expect(heap.waking()?.instant == 10)
        _ = heap.cancel(first)
        #expect(heap.waking()?.instant == nil)
    }

    @Test func `timers at the ends of the clock and odd tolerances are no trouble`() {
        var heap = TimerHeap<Int>()
        _ = heap.arm(heap.reserve(), deadline: .max, tolerance: .max, payload: 1)
        #expect(heap.waking()?.instant == .max)
        _ = heap.arm(heap.reserve(), deadline: 5, tolerance: -7, payload: 2)
        #expect(heap.waking()?.instant == 5)
        _ = heap.arm(heap.reserve(), deadline: .min, tolerance: 3, payload: 3)
        #expect(heap.waking()?.instant == .min)
        #expect(drain(&heap).fired == [1: .max, 2: 5, 3: .min])
    }

    @Test func `more overlapping timers than are looked at are late by no more either`() {
        var heap = TimerHeap<Int>()
        let count = 20_000
        for number in 0..<count {
            let deadline = Int64(count - number)
            _ = heap.arm(
                heap.reserve(), deadline: deadline, tolerance: deadline == 7000 ? 0 : 1_000_000, payload: number)
        }
        let (fired, wakings) = drain(&heap)
        #expect(fired.count == count && wakings <= count)
        #expect(fired.allSatisfy { $0.value >= Int64(count - $0.key) })
        #expect(fired[count - 7000] == 7000)
    }

    @Test func `a name of an earlier use of a slot means nothing to a later one`() {
        var heap = TimerHeap<String>()
        let first = heap.reserve()
        _ = heap.arm(first, deadline: 1, payload: "first")
        var popped = heap.popDue(at: 1)?.payload
        #expect(popped == "first")
        let second = heap.reserve()
        #expect(heap.slotCount == 1 && second != first)
        if case .stale = heap.cancel(first) {} else { Issue.record("an old name cancelled a new reservation") }
        let isArmed = heap.arm(second, deadline: 2, payload: "second")
        #expect(isArmed)
        if case .stale = heap.cancel(first) {} else { Issue.record("an old name cancelled a new timer") }
        popped = heap.popDue(at: 2)?.payload
        #expect(popped == "second")
    }

    @Test func `a name given by another heap is ignored`() {
        var one = TimerHeap<Int>()
        var other = TimerHeap<Int>()
        _ = one.reserve()
        let foreign = one.reserve()
        if case .stale = other.cancel(foreign) {} else { Issue.record("a foreign name was taken") }
        let isArmed = other.arm(foreign, deadline: 0, payload: 0)
        #expect(!isArmed)
    }
}
