// SPDX-License-Identifier: Apache-2.0

import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite struct TimerHeapTests {
    private enum Phase {
        case reserved
        case cancelledEarly
        case armed(deadline: Int64, payload: Int)
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
                let isArmed = heap.arm(live[index].token, deadline: deadline, payload: step)
                switch live[index].phase {
                case .reserved:
                    expect(isArmed)
                    live[index].phase = .armed(deadline: deadline, payload: step)
                case .cancelledEarly:
                    expect(!isArmed)
                    stale.append(live.remove(at: index).token)
                case .armed:
                    expect(!isArmed)
                }
            case 6..<8:
                guard let index = live.indices.randomElement(using: &generator) else { continue }
                switch (heap.cancel(live[index].token), live[index].phase) {
                case (.disarmed(let found), .armed(_, let payload)):
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
                let armed = live.indices.compactMap { index -> (Int, Int64, Int)? in
                    if case .armed(let deadline, let payload) = live[index].phase {
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
