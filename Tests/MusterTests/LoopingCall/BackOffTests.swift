// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

@Suite("Back-off looping calls", .timeLimit(.minutes(5)))
struct BackOffTests {
    private static let growing = [
        1.6, 2.4, 3.6, 5.4, 8.1, 12.15, 18.225, 27.3375, 41.00625, 61.509375, 92.2640625,
    ]

    private func matches(_ sleeps: [Duration], _ seconds: [Double]) -> Bool {
        sleeps.count == seconds.count && zip(sleeps, seconds).allSatisfy { abs($0.inSeconds - $1) < 1e-6 }
    }

    @Test("Delays grow until the time-out, whatever the factor's sign", arguments: bothBackends, [0.8, -0.8])
    func grows(type: BackendType, factor: Double) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = BackOffLoopingCall(name: "growing", backend: backend, random: { _ in factor }) { false }
            try loop.start()
            let error = await #expect(throws: LoopingCallTimeOut.self) { try await loop.wait() }
            #expect(matches(clock.sleeps, Self.growing), "\(clock.sleeps)")
            // The next delay would have been 138.4 s, and 273.6 s have been waited.
            #expect(abs((error?.elapsed.inSeconds ?? 0) - 411.98828125) < 1e-6)
        }
    }

    @Test("A longest delay holds them", arguments: bothBackends)
    func longest(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = BackOffLoopingCall(name: "held", backend: backend, random: { _ in 0.8 }) { false }
            try loop.start(.init(maximumInterval: .seconds(60)))
            await #expect(throws: LoopingCallTimeOut.self) { try await loop.wait() }
            #expect(matches(clock.sleeps, Self.growing.prefix(9) + [60, 60, 60]), "\(clock.sleeps)")
        }
    }

    @Test("A success starts over", arguments: bothBackends)
    func success(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = BackOffLoopingCall(name: "fine", backend: backend, random: { _ in 1 }) {
                if runs.append(()) == 4 { throw LoopingCallDone() }
                return true
            }
            try loop.start()
            try await loop.wait()
            #expect(clock.sleeps == [.seconds(1), .seconds(1), .seconds(1)])
        }
    }

    @Test("Its back-off is exported while it lasts", arguments: bothBackends)
    func exported(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let metrics = backend.metrics
            let seen = Recorder<Double?>()
            let loop = BackOffLoopingCall(name: "fragile", backend: backend, random: { _ in 1 }) {
                if seen.append(metrics.value("muster_loop_backoff_seconds", ["loop": "fragile"]).number) == 5 {
                    throw LoopingCallDone()
                }
                return seen.count == 3
            }
            try loop.start(.init(jitter: 1))
            try await loop.wait()
            #expect(seen.all == [0, 2, 4, 0, 2])
            #expect(metrics.value("muster_loop_backoffs_total", ["loop": "fragile"]) == 3)
            #expect(metrics.value("muster_loop_backoff_seconds", ["loop": "fragile"]).number == nil)
        }
    }

    @Test("A success between failures starts over", arguments: bothBackends)
    func successBetween(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = BackOffLoopingCall(name: "mixed", backend: backend, random: { _ in 0.8 }) {
                let run = runs.append(())
                if run == 5 { throw LoopingCallDone() }
                return run == 3
            }
            try loop.start()
            try await loop.wait()
            #expect(matches(clock.sleeps, [1.6, 2.4, 0.8, 1.6]), "\(clock.sleeps)")
        }
    }

    @Test("A loop that is done at once does not sleep", arguments: bothBackends)
    func doneAtOnce(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = BackOffLoopingCall(name: "done", backend: backend) { throw LoopingCallDone(false) }
            try loop.start()
            #expect(try await loop.wait().value as? Bool == false)
            #expect(clock.sleeps.isEmpty)
        }
    }

    @Test("The factor is drawn anew each time, around the jitter", arguments: bothBackends)
    func draws(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let means = Recorder<Double>()
            let runs = Recorder<Void>()
            let loop = BackOffLoopingCall(
                name: "drawn", backend: backend,
                random: { mean in
                    means.append(mean)
                    return mean
                },
                {
                    if runs.append(()) == 4 { throw LoopingCallDone() }
                    return false
                })
            try loop.start(.init(jitter: 0.5))
            try await loop.wait()
            #expect(means.all == [0.5, 0.5, 0.5])
            #expect(clock.sleeps == [.seconds(1), .seconds(1), .seconds(1)])
        }
    }

    @Test("An error ends the loop, and it starts over when started again", arguments: bothBackends)
    func startsOver(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = BackOffLoopingCall(name: "again", backend: backend, random: { _ in 0.8 }) {
                if runs.append(()) % 3 == 0 { throw TestFailure() }
                return false
            }
            for _ in 0..<2 {
                try loop.start()
                await #expect(throws: TestFailure()) { try await loop.wait() }
            }
            #expect(matches(clock.sleeps, [1.6, 2.4, 1.6, 2.4]), "\(clock.sleeps)")
        }
    }

    @Test("A loop that runs cannot be started again", arguments: bothBackends)
    func doubleStart(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = BackOffLoopingCall(name: "twice", backend: backend) { true }
            try loop.start()
            #expect(throws: LoopingCallError.alreadyRunning(loop: "twice")) { try loop.start() }
            await clock.sleepers(atLeast: 1)
            loop.stop()
            try await loop.wait()
        }
    }

    @Test("Delays that would spin are refused", arguments: bothBackends)
    func tooShort(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let loop = BackOffLoopingCall(name: "short", backend: backend) { true }
            #expect(throws: LoopingCallError.self) { try loop.start(.init(minimumInterval: .zero)) }
            #expect(!loop.isRunning)
        }
    }

    @Test("Without a time-out it goes on for ever", arguments: bothBackends)
    func noTimeout(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = BackOffLoopingCall(name: "ever", backend: backend, random: { _ in 0.8 }) {
                if runs.append(()) == 500 { throw LoopingCallDone() }
                return false
            }
            try loop.start(.init(timeout: .zero))
            try await loop.wait()
            #expect(clock.sleeps.last == .seconds(300))
        }
    }
}
