// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite(.timeLimit(.minutes(3))) struct EventLoopSleepTests {
    /// Where the sleeping task runs.
    enum Place: CaseIterable {
        case loop
        case elsewhere
    }

    static let cases: [(EventLoop.Parking, Place)] =
        everyParking.flatMap { parking in Place.allCases.map { (parking, $0) } }

    /// Runs a task on the loop, or on Swift's global pool.
    private func task<Result: Sendable>(
        _ place: Place, _ loop: EventLoop, _ body: @escaping @Sendable () async throws -> Result
    ) -> Task<Result, any Error> {
        switch place {
        case .loop: Task(executorPreference: loop, operation: body)
        case .elsewhere: Task.detached(operation: body)
        }
    }

    private func hour() -> MonotonicInstant {
        .now.advanced(by: .seconds(3600))
    }

    @Test(arguments: cases)
    func `sleeps until the deadline and not less`(parking: EventLoop.Parking, place: Place) async throws {
        try await withLoop(parking) { loop in
            let early = try await task(place, loop) {
                var early = 0
                for milliseconds in [0, 1, 3] {
                    let deadline = MonotonicInstant.now.advanced(by: .milliseconds(milliseconds))
                    try await loop.sleep(until: deadline)
                    if MonotonicInstant.now < deadline { early += 1 }
                }
                return early
            }.value
            #expect(early == 0)
        }
    }

    @Test(
        arguments: cases.flatMap { parking, place in
            [Int64.min, -1_000_000_000, -1, 0, 1].map { (parking, place, $0) }
        } as [(EventLoop.Parking, Place, Int64)])
    func `a deadline in the past is over at once`(
        parking: EventLoop.Parking, place: Place, nanoseconds: Int64
    ) async throws {
        try await withLoop(parking) { loop in
            try await task(place, loop) {
                try await loop.sleep(until: MonotonicInstant(nanoseconds: nanoseconds))
            }.value
            let left = await loop.inTurn { loop.timerCount }
            #expect(left == 0)
        }
    }

    @Test(arguments: cases)
    func `sleepers wake in the order of their deadlines`(parking: EventLoop.Parking, place: Place) async throws {
        try await withLoop(parking) { loop in
            let order = Locked<[Int]>([])
            let start = MonotonicInstant.now
            let sleepers = [3, 1, 4, 2, 5].map { number in
                task(place, loop) {
                    // On the loop's thread, so that the order of waking is the order of noting.
                    try await loop.sleep(until: start.advanced(by: .milliseconds(number)))
                    if place == .loop { order.withLock { $0.append(number) } }
                }
            }
            for sleeper in sleepers { try await sleeper.value }
            let seen = order.withLock { $0 }
            // A sleeper that began after its deadline does not count as out of order, so only a full set is judged.
            if place == .loop, MonotonicInstant.now < start.advanced(by: .milliseconds(6)) {
                #expect(seen == [1, 2, 3, 4, 5])
            }
            #expect(place == .elsewhere || seen.sorted() == [1, 2, 3, 4, 5])
        }
    }

    @Test(arguments: cases)
    func `a task cancelled before it sleeps does not sleep`(parking: EventLoop.Parking, place: Place) async throws {
        try await withLoop(parking) { loop in
            let deadline = hour()
            let sleeper = task(place, loop) {
                withUnsafeCurrentTask { $0?.cancel() }
                try await loop.sleep(until: deadline)
            }
            await #expect(throws: CancellationError.self) { try await sleeper.value }
            let left = await loop.inTurn { loop.timerCount }
            #expect(left == 0)
        }
    }

    @Test(arguments: cases)
    func `a sleeper is woken by its cancellation`(parking: EventLoop.Parking, place: Place) async throws {
        try await withLoop(parking) { loop in
            for _ in 0..<20 {
                let deadline = hour()
                let isAsleep = Latch()
                let sleeper = task(place, loop) {
                    isAsleep.countDown()
                    try await loop.sleep(until: deadline)
                }
                await isAsleep.wait()
                // On the loop's thread the sleeper is certainly armed by its next turn.
                if place == .loop {
                    let count = await loop.inTurn { loop.timerCount }
                    #expect(count == 1)
                }
                sleeper.cancel()
                await #expect(throws: CancellationError.self) { try await sleeper.value }
            }
            let left = await loop.inTurn { loop.timerCount }
            #expect(left == 0)
        }
    }

    @Test(arguments: cases)
    func `a sleeper may be cancelled by a task of the loop`(parking: EventLoop.Parking, place: Place) async throws {
        try await withLoop(parking) { loop in
            let deadline = hour()
            let sleeper = task(place, loop) { try await loop.sleep(until: deadline) }
            try await loop.perform {
                await Task.yield()
                sleeper.cancel()
            }
            await #expect(throws: CancellationError.self) { try await sleeper.value }
            let left = await loop.inTurn { loop.timerCount }
            #expect(left == 0)
        }
    }

    @Test(arguments: cases)
    func `cancellation at any moment ends the sleep and leaves nothing behind`(
        parking: EventLoop.Parking, place: Place
    ) async throws {
        try await withLoop(parking) { loop in
            var generator = SplitMix64(seed: 4)
            var outcomes = (elapsed: 0, cancelled: 0)
            for round in 0..<1500 {
                // Every other sleep is over at about the time at which it is cancelled.
                let deadline =
                    round % 2 == 0
                    ? hour()
                    : MonotonicInstant.now.advanced(by: .microseconds(Int.random(in: 0..<200, using: &generator)))
                let sleeper = task(place, loop) { try await loop.sleep(until: deadline) }
                spin(Int.random(in: 0..<60, using: &generator))
                sleeper.cancel()
                switch await sleeper.result {
                case .success: outcomes.elapsed += 1
                case .failure: outcomes.cancelled += 1
                }
            }
            #expect(outcomes.cancelled >= 750, "nobody sleeps for an hour")
            let left = await loop.inTurn { loop.timerCount }
            #expect(left == 0)
        }
    }

    @Test func `a cancellation after the sleep disturbs no later sleep in the same slot`() async throws {
        try await withLoop { loop in
            for _ in 0..<300 {
                let first = Task(executorPreference: loop) {
                    try await loop.sleep(until: .now.advanced(by: .microseconds(20)))
                }
                let second = Task(executorPreference: loop) {
                    for _ in 0..<3 { try await loop.sleep(until: .now.advanced(by: .microseconds(20))) }
                }
                first.cancel()
                _ = await first.result
                first.cancel()
                try await second.value
            }
        }
    }

    @Test(arguments: everyParking)
    func `an earlier deadline shortens a wait for a later one`(parking: EventLoop.Parking) async throws {
        try await withLoop(parking) { loop in
            let deadline = hour()
            let long = Task(executorPreference: loop) { try await loop.sleep(until: deadline) }
            await loop.inTurn {}
            try await loop.perform { try await loop.sleep(until: .now.advanced(by: .milliseconds(1))) }
            try await Task.detached { try await loop.sleep(until: .now.advanced(by: .milliseconds(1))) }.value
            long.cancel()
            _ = await long.result
        }
    }

    @Test(arguments: everyParking)
    func `a sleep that may be longer ends with its neighbour's, and that one on time`(
        parking: EventLoop.Parking
    ) async throws {
        try await withLoop(parking) { loop in
            // Sleepers that begin too late, on a busy machine, have no waking to share.
            for milliseconds in [50, 200, 1000] {
                let start = MonotonicInstant.now
                let early = start.advanced(by: .milliseconds(milliseconds))
                let late = start.advanced(by: .milliseconds(2 * milliseconds))
                let (patient, punctual) = await loop.inTurn {
                    // Both begin to sleep in this turn of the loop.
                    let patient = Task(executorPreference: loop) {
                        try await loop.sleep(until: early, tolerance: .seconds(2))
                        return MonotonicInstant.now
                    }
                    let punctual = Task(executorPreference: loop) {
                        let beginning = MonotonicInstant.now
                        try await loop.sleep(until: late)
                        return beginning
                    }
                    return (patient, punctual)
                }
                let woken = try await patient.value
                let isInTime = try await punctual.value < early
                #expect(woken >= early)
                guard isInTime else { continue }
                #expect(woken >= late, "the earlier one has waited for the later")
                return
            }
        }
    }

    @Test(arguments: cases)
    func `a sleep that may be longer is woken by its cancellation`(parking: EventLoop.Parking, place: Place)
        async throws
    {
        try await withLoop(parking) { loop in
            let (soon, later) = (hour(), hour())
            let patient = task(place, loop) { try await loop.sleep(until: soon, tolerance: .seconds(3600)) }
            let other = task(place, loop) { try await loop.sleep(until: later, tolerance: .seconds(1)) }
            while await loop.inTurn({ loop.timerCount }) < 2 {}
            for sleeper in [other, patient] {
                sleeper.cancel()
                await #expect(throws: CancellationError.self) { try await sleeper.value }
            }
            let left = await loop.inTurn { loop.timerCount }
            #expect(left == 0)
        }
    }

    @Test(arguments: everyParking)
    func `a sleeper sleeps again and again, and not at all once it is cancelled`(
        parking: EventLoop.Parking
    ) async throws {
        try await withLoop(parking) { loop in
            var generator = SplitMix64(seed: 12)
            for round in 0..<600 {
                let sleeper = EventLoop.Sleeper(on: loop)
                let task = Task(executorPreference: loop) {
                    await withTaskCancellationHandler {
                        var early = 0
                        while true {
                            let deadline = MonotonicInstant.now.advanced(
                                by: round.isMultiple(of: 2) ? .seconds(3600) : .microseconds(20))
                            guard await sleeper.sleep(until: deadline, tolerance: .zero) else { return early }
                            if MonotonicInstant.now < deadline { early += 1 }
                        }
                    } onCancel: {
                        sleeper.cancel()
                    }
                }
                spin(Int.random(in: 0..<60, using: &generator))
                // From another thread, or from the loop's own.
                if round % 3 == 0 { await loop.inTurn { task.cancel() } } else { task.cancel() }
                let early = await task.value
                #expect(early == 0)
            }
            let left = await loop.inTurn { loop.timerCount }
            #expect(left == 0)
        }
    }

    @Test(arguments: everyParking)
    func `the end of time can be slept for`(parking: EventLoop.Parking) async throws {
        try await withLoop(parking) { loop in
            let sleeper = Task(executorPreference: loop) { try await loop.sleep(until: .distantFuture) }
            for _ in 0..<20 { await loop.inTurn {} }
            sleeper.cancel()
            await #expect(throws: CancellationError.self) { try await sleeper.value }
        }
    }

    @Test func `scheduled actions run once, in order, and not when cancelled`() async throws {
        try await withLoop { loop in
            let order = Locked<[Int]>([])
            let isOver = Latch()
            await loop.inTurn {
                let now = MonotonicInstant.now
                let cancelled = loop.schedule(at: now.advanced(by: .milliseconds(1))) {
                    order.withLock { $0.append(-1) }
                }
                loop.schedule(at: now.advanced(by: .milliseconds(3))) {
                    order.withLock { $0.append(3) }
                    isOver.countDown()
                }
                let second = loop.schedule(at: now.advanced(by: .milliseconds(2))) { order.withLock { $0.append(2) } }
                loop.schedule(at: now.advanced(by: .milliseconds(-1))) {
                    order.withLock { $0.append(1) }
                    loop.cancel(cancelled)
                }
                loop.schedule(at: now.advanced(by: .milliseconds(3))) { loop.cancel(second) }
            }
            await isOver.wait()
            let seen = order.withLock { $0 }
            #expect(seen.first == 1 && seen.filter { $0 > 0 } == [1, 2, 3])
            #expect(!seen.contains(-1))
        }
    }

    @Test func `a name that another loop gave is no action of this one`() async throws {
        try await withLoop { one in
            try await withLoop { other in
                let names = await one.inTurn {
                    (0..<3).map { _ in one.schedule(at: .distantFuture) {} }
                }
                await other.inTurn { for name in names { other.cancel(name) } }
                let (left, none) = (await one.inTurn { one.timerCount }, await other.inTurn { other.timerCount })
                #expect(left == 3 && none == 0)
            }
        }
    }

    @Test func `many sleepers at once`() async throws {
        try await withLoop { loop in
            let start = MonotonicInstant.now
            let early = try await loop.perform {
                try await withThrowingTaskGroup(of: Int.self) { group in
                    var generator = SplitMix64(seed: 11)
                    for _ in 0..<5000 {
                        let deadline = start.advanced(by: .microseconds(Int.random(in: 0..<20_000, using: &generator)))
                        group.addTask {
                            try await loop.sleep(until: deadline)
                            return MonotonicInstant.now < deadline ? 1 : 0
                        }
                    }
                    return try await group.reduce(0, +)
                }
            }
            #expect(early == 0)
        }
    }
}
