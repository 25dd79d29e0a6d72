// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterPlatform
import MusterTestKit
import Testing

/// A clock on which nobody waits, and which writes down how much longer each sleep might have been.
private final class ToleranceClock: RuntimeClock {
    let tolerances = Recorder<Duration>()
    private let clock = RecordedClock()

    var now: MonotonicInstant { clock.now }

    func sleep(until deadline: MonotonicInstant, tolerance: Duration) async throws(CancellationError) {
        tolerances.append(tolerance)
        try await clock.sleep(until: deadline)
    }
}

@Suite("How late looping calls may begin", .timeLimit(.minutes(5)))
struct ToleranceTests {
    private func tolerances(
        _ type: BackendType, runs: Int = 3,
        _ start: (Backend, @escaping @Sendable () throws -> Void) throws -> LoopingCall
    ) async throws -> [Duration] {
        let clock = ToleranceClock()
        return try await TestBackend.with(type, clock: clock) { backend in
            let counted = Recorder<Void>()
            let loop = try start(backend) { if counted.append(()) == runs { throw LoopingCallDone() } }
            try await loop.wait()
            return clock.tolerances.all
        }
    }

    @Test(
        "A thousandth of the interval, 1 ms at most, unless told otherwise", arguments: bothBackends,
        [
            (.milliseconds(1), nil, .microseconds(1)), (.milliseconds(10), nil, .microseconds(10)),
            (.milliseconds(100), nil, .microseconds(100)), (.seconds(1), nil, .milliseconds(1)),
            (.seconds(3600), nil, .milliseconds(1)), (.seconds(1), .seconds(2), .seconds(2)),
            (.seconds(1), .zero, .zero),
        ] as [(interval: Duration, told: Duration?, expected: Duration)])
    func fixed(type: BackendType, sample: (interval: Duration, told: Duration?, expected: Duration)) async throws {
        let expected = [Duration](repeating: sample.expected, count: 2)
        let plain = try await tolerances(type) { backend, run in
            let loop = FixedIntervalLoopingCall(name: "fixed", backend: backend, run)
            try loop.start(interval: sample.interval, tolerance: sample.told)
            return loop
        }
        #expect(plain == expected)
        let limited = try await tolerances(type) { backend, run in
            let loop = FixedIntervalWithTimeoutLoopingCall(name: "limited", backend: backend, run)
            try loop.start(interval: sample.interval, tolerance: sample.told)
            return loop
        }
        #expect(limited == expected)
        let timer = try await tolerances(type) { backend, run in
            try ThreadGroup(name: "group", backend: backend).addTimer(
                name: "timer", interval: sample.interval, tolerance: sample.told, run)
        }
        #expect(timer == expected)
    }

    @Test("A thousandth of each delay that a function returns", arguments: bothBackends)
    func dynamic(type: BackendType) async throws {
        let delays = Recorder<Void>()
        let usual = try await tolerances(type) { backend, run in
            let loop = DynamicLoopingCall(name: "dynamic", backend: backend) {
                try run()
                return delays.append(()) == 1 ? .milliseconds(50) : .seconds(50)
            }
            try loop.start()
            return loop
        }
        #expect(usual == [.microseconds(50), .milliseconds(1)])
        let told = try await tolerances(type) { backend, run in
            try ThreadGroup(name: "group", backend: backend).addDynamicTimer(name: "dynamic", tolerance: .seconds(5)) {
                try run()
                return .seconds(50)
            }
        }
        #expect(told == [.seconds(5), .seconds(5)])
    }

    @Test("A back-off's delays count likewise", arguments: bothBackends)
    func backOff(type: BackendType) async throws {
        for (tolerance, expected) in [(nil, .milliseconds(1)), (.seconds(1), .seconds(1))] as [(Duration?, Duration)] {
            let found = try await tolerances(type) { backend, run in
                let loop = BackOffLoopingCall(name: "back-off", backend: backend) {
                    try run()
                    return true
                }
                // Twice as long as from where on the limit of 1 ms holds, so that jitter changes nothing.
                try loop.start(.init(startingInterval: .seconds(10), jitter: 1, tolerance: tolerance))
                return loop
            }
            #expect(found == [expected, expected])
        }
    }

    @Test("Being late within the tolerance moves no grid, and shows", arguments: bothBackends)
    func lateness(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let start = clock.now
            let runs = Recorder<MonotonicInstant>()
            let loop = FixedIntervalLoopingCall(name: "patient", backend: backend) { runs.append(clock.now) }
            try loop.start(interval: .seconds(1), tolerance: .milliseconds(500))
            for number in 1...3 {
                await clock.sleepers(atLeast: 1)
                #expect(clock.deadlines == [start.advanced(by: .seconds(number))])
                clock.stall(for: clock.now.duration(to: start.advanced(by: .seconds(number) + .milliseconds(400))))
                try await runs.first(number + 1)
            }
            loop.stop()
            try await loop.wait()
            #expect(backend.metrics.value("muster_loop_drift_seconds", ["loop": "patient"]).number ?? 0 == 0)
        }
    }
}
