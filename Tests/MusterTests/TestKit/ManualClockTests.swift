// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterTestKit
import Testing

@Suite("Clocks for tests", .timeLimit(.minutes(5)))
struct ManualClockTests {
    @Test("A manual clock wakes those whose time has come, the earliest first")
    func wakes() async throws {
        let clock = ManualClock()
        let start = clock.now
        let woken = Recorder<Int>()
        for seconds in [3, 1, 2] {
            Task {
                try await clock.sleep(for: .seconds(seconds))
                woken.append(seconds)
            }
        }
        await clock.sleepers(atLeast: 3)
        #expect(clock.deadlines == [1, 2, 3].map { start.advanced(by: .seconds($0)) })
        clock.advance(by: .milliseconds(999))
        #expect(clock.deadlines.count == 3)
        #expect(await clock.advanceToNextDeadline() == .milliseconds(1))
        #expect(try await woken.first(1) == [1])
        clock.advance(by: .seconds(5))
        #expect(Set(try await woken.first(3)) == [1, 2, 3])
        #expect(clock.now == start.advanced(by: .seconds(6)))
        #expect(clock.deadlines.isEmpty)
    }

    @Test("It never goes back, and a past instant is due at once")
    func past() async throws {
        let clock = ManualClock()
        let start = clock.now
        clock.advance(by: .seconds(-5))
        clock.advance(to: start.advanced(by: .seconds(-1)))
        #expect(clock.now == start)
        try await clock.sleep(until: start)
        try await clock.sleep(for: .seconds(-1))
    }

    @Test("A cancelled task does not sleep on")
    func cancelled() async throws {
        let clock = ManualClock()
        let asleep = Task { try await clock.sleep(for: .seconds(1)) }
        await clock.sleepers(atLeast: 1)
        asleep.cancel()
        await #expect(throws: CancellationError.self) { try await asleep.value }
        #expect(clock.deadlines.isEmpty)
        let early = Task {
            while !Task.isCancelled { await Task.yield() }
            try await clock.sleep(for: .seconds(1))
        }
        early.cancel()
        await #expect(throws: CancellationError.self) { try await early.value }
    }

    @Test("A recorded clock sleeps through nothing and writes all down")
    func recorded() async throws {
        let clock = RecordedClock()
        let start = clock.now
        try await clock.sleep(for: .seconds(2))
        clock.advance(by: .seconds(1))
        clock.advance(by: .seconds(-9))
        try await clock.sleep(until: start)
        #expect(clock.sleeps == [.seconds(2), .zero])
        #expect(clock.now == start.advanced(by: .seconds(3)))
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            try await clock.sleep(for: .seconds(1))
        }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(clock.sleeps.count == 2)
    }
}
