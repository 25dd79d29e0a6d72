// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

@Suite("Clocks for tests", .timeLimit(.minutes(5)))
struct ManualClockTests {
    @Test(
        "It wakes what is due in the order of the deadlines, each when the ones before are still",
        arguments: bothBackends)
    func order(type: BackendType) async throws {
        let clock = ManualClock()
        let start = clock.now
        try await TestBackend.with(type, clock: clock) { backend in
            let woken = Recorder<Int>()
            for seconds in [3, 1, 2, 9] {
                try backend.engine.spawn(name: "sleeper") {
                    try await clock.sleep(for: .seconds(seconds))
                    #expect(clock.now == start.advanced(by: .seconds(seconds)))
                    woken.append(seconds)
                }
            }
            await clock.advance(by: .milliseconds(999))
            #expect(woken.all.isEmpty)
            #expect(clock.deadlines == [1, 2, 3, 9].map { start.advanced(by: .seconds($0)) })
            await clock.advance(by: .seconds(5))
            #expect(woken.all == [1, 2, 3])
            #expect(clock.now == start.advanced(by: .milliseconds(5999)))
            #expect(clock.deadlines == [start.advanced(by: .seconds(9))])
        }
    }

    @Test(
        "What becomes due by what ran, runs: a loop of 1 s that is advanced by 10 s runs ten times",
        arguments: bothBackends)
    func loop(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loops = try ["a", "b"].map { name in
                let loop = FixedIntervalLoopingCall(name: name) {
                    // Work that hands over to other jobs, and that takes turns.
                    try await Backend.current.engine.spawn(name: "child") { for _ in 0..<3 { await Task.yield() } }
                        .wait()
                    runs.append(())
                }
                try loop.start(interval: .seconds(1))
                return loop
            }
            await clock.advance(by: .zero)
            #expect(runs.count == 2)
            for round in 1...5 {
                await clock.advance(by: .seconds(10))
                #expect(runs.count == 2 + 20 * round)
            }
            #expect(backend.metrics.value("muster_loop_overruns_total", ["loop": "a"]) == 0)
            for loop in loops { loop.stop() }
            await clock.advance(by: .zero)
            #expect(loops.allSatisfy { !$0.isRunning })
        }
    }

    @Test(
        "Work that blocks a thread is waited for, and a job that waits for something else is not",
        arguments: bothBackends)
    func blocking(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let (done, gate) = (Recorder<String>(), Completion<Void>())
            try backend.engine.spawn(name: "waits") {
                try await gate.wait()
                done.append("waited")
            }
            try backend.engine.spawn(name: "blocks") {
                try await clock.sleep(for: .seconds(1))
                _ = try await Backend.current.engine.runBlocking { usleep(20_000) }
                done.append("blocked")
                try await clock.sleep(for: .seconds(1))
                done.append("slept")
            }
            await clock.advance(by: .seconds(1))
            #expect(done.all == ["blocked"])
            await clock.advance(by: .seconds(1))
            #expect(done.all == ["blocked", "slept"])
            gate.complete(with: ())
            await clock.advance(by: .zero)
            #expect(done.all == ["blocked", "slept", "waited"])
        }
    }

    @Test("A job may move the clock, and others run meanwhile", arguments: bothBackends)
    func inside(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let ticks = Recorder<Void>()
            try FixedIntervalLoopingCall(name: "ticks") { ticks.append(()) }.start(interval: .seconds(1))
            let count = try backend.engine.spawn(name: "moves") {
                await clock.advance(by: .seconds(5))
                return ticks.count
            }
            #expect(try await count.result() == 6)
        }
    }

    @Test("After a stall what was due wakes late", arguments: bothBackends)
    func stall(type: BackendType) async throws {
        let clock = ManualClock()
        let start = clock.now
        try await TestBackend.with(type, clock: clock) { backend in
            let woken = Recorder<Duration>()
            for seconds in [1, 2] {
                try backend.engine.spawn(name: "sleeper") {
                    try await clock.sleep(for: .seconds(seconds))
                    woken.append(start.duration(to: clock.now))
                }
            }
            await clock.sleepers(atLeast: 2)
            clock.stall(for: .seconds(5))
            #expect(try await woken.first(2) == [.seconds(5), .seconds(5)])
        }
    }

    @Test("It never goes back, and a past instant is due at once")
    func past() async throws {
        let clock = ManualClock()
        let start = clock.now
        await clock.advance(by: .seconds(-5))
        await clock.advance(to: start.advanced(by: .seconds(-1)))
        clock.stall(for: .seconds(-1))
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
        clock.stall(for: .seconds(1))
        clock.stall(for: .seconds(-9))
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
