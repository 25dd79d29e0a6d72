// SPDX-License-Identifier: Apache-2.0

import Logging
import Muster
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

@Suite("Fixed-interval looping calls", .timeLimit(.minutes(5)))
struct FixedIntervalTests {
    @Test("A value comes back in its type, and one of another type is an error", arguments: bothBackends)
    func typedValue(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let loop = FixedIntervalLoopingCall(name: "typed", backend: backend) { throw LoopingCallDone("drained") }
            try loop.start(interval: .seconds(1))
            let end = try await loop.wait()
            let value: String? = try end.value()
            #expect(value == "drained")
            #expect(try end.value(as: (any Sendable).self) as? String == "drained")
            let error = #expect(throws: LoopingCallError.self) { try end.value(as: Int.self) }
            #expect(error == .otherValue(expected: "Int", found: "String"))
            let stopped = FixedIntervalLoopingCall(name: "stopped", backend: backend) {}
            try stopped.start(interval: .seconds(1))
            stopped.stop()
            let other = try await stopped.wait()
            #expect(try other.value(as: String.self) == nil)
            #expect(try other.value() == true)
        }
    }

    @Test("The value of LoopingCallDone is what wait returns", arguments: bothBackends, [true, false])
    func done(type: BackendType, value: Bool) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let loop = FixedIntervalLoopingCall(name: "done", backend: backend) { throw LoopingCallDone(value) }
            try loop.start(interval: .seconds(1))
            let end = try await loop.wait()
            #expect(end.value as? Bool == value)
            #expect(!loop.isRunning)
        }
    }

    @Test("A stopped loop's value is true, as upstream has it", arguments: bothBackends)
    func stoppedValue(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = FixedIntervalLoopingCall(name: "stopped", backend: backend) {}
            try loop.start(interval: .seconds(1))
            await clock.sleepers(atLeast: 1)
            loop.stop()
            #expect(try await loop.wait().value as? Bool == true)
        }
    }

    @Test("An error ends the loop and is thrown by wait", arguments: bothBackends)
    func error(type: BackendType) async throws {
        let log = CapturedLog()
        try await TestBackend.with(type, clock: RecordedClock(), logger: log.logger) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalLoopingCall(name: "broken", backend: backend) {
                runs.append(())
                throw TestFailure()
            }
            try loop.start(interval: .seconds(1))
            await #expect(throws: TestFailure()) { try await loop.wait() }
            #expect(runs.count == 1)
            #expect(log.messages(.error) == ["looping call failed"])
            #expect(backend.metrics.value("muster_loop_run_failures_total", ["loop": "broken"]) == 1)
        }
    }

    @Test("With stopsOnError off, errors are logged and the loop goes on", arguments: bothBackends)
    func goesOn(type: BackendType) async throws {
        let log = CapturedLog()
        try await TestBackend.with(type, clock: RecordedClock(), logger: log.logger) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalLoopingCall(name: "stubborn", backend: backend) {
                if runs.append(()) == 4 { throw LoopingCallDone(7) }
                throw TestFailure()
            }
            try loop.start(interval: .seconds(1), stopsOnError: false)
            #expect(try await loop.wait().value as? Int == 7)
            #expect(log.messages(.error).count == 3)
            #expect(backend.metrics.value("muster_loop_run_failures_total", ["loop": "stubborn"]) == 3)
            #expect(backend.metrics.value("muster_loop_runs_total", ["loop": "stubborn"]) == 4)
        }
    }

    @Test("A loop that runs cannot be started again, and goes on", arguments: bothBackends)
    func doubleStart(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = FixedIntervalLoopingCall(name: "twice", backend: backend) {}
            try loop.start(interval: .seconds(1))
            #expect(throws: LoopingCallError.alreadyRunning(loop: "twice")) { try loop.start(interval: .seconds(1)) }
            await clock.sleepers(atLeast: 1)
            #expect(loop.isRunning)
            loop.stop()
            try await loop.wait()
        }
    }

    @Test("It repeats until it is done", arguments: bothBackends)
    func repeats(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<MonotonicInstant>()
            let start = clock.now
            let loop = FixedIntervalLoopingCall(name: "many", backend: backend) {
                if runs.append(clock.now) == 5 { throw LoopingCallDone() }
            }
            try loop.start(interval: .seconds(2))
            try await loop.wait()
            #expect(runs.all == (0..<5).map { start.advanced(by: .seconds(2 * $0)) })
        }
    }

    @Test("An interval of 1.01 s is adjusted by the time that runs take", arguments: bothBackends)
    func adjustment(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let lengths: [Duration] = [.milliseconds(990), .seconds(2), .milliseconds(1010)]
            let loop = FixedIntervalLoopingCall(name: "adjusted", backend: backend) {
                let run = runs.append(())
                guard run <= lengths.count else { throw LoopingCallDone() }
                clock.stall(for: lengths[run - 1])
            }
            try loop.start(interval: .milliseconds(1010))
            try await loop.wait()
            #expect(clock.sleeps == [.milliseconds(20), .zero, .zero])
        }
    }

    @Test("An interval of 1 ms is 1 ms", arguments: bothBackends)
    func oneMillisecond(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalLoopingCall(name: "fast", backend: backend) {
                clock.stall(for: .microseconds(400))
                if runs.append(()) == 1001 { throw LoopingCallDone() }
            }
            try loop.start(interval: .milliseconds(1))
            try await loop.wait()
            #expect(clock.sleeps == Array(repeating: .microseconds(600), count: 1000))
        }
    }

    @Test(
        "An interval below the shortest is refused, and the loop can still be started",
        arguments: bothBackends, [Duration.zero, .seconds(-1), .microseconds(99)])
    func tooShort(type: BackendType, interval: Duration) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let loop = FixedIntervalLoopingCall(name: "short", backend: backend) { throw LoopingCallDone() }
            let error = LoopingCallError.intervalTooShort(
                loop: "short", interval: interval, shortest: .microseconds(100))
            #expect(throws: error) { try loop.start(interval: interval) }
            #expect(error.description.contains("must be 0.0001 seconds or more"))
            try loop.start(interval: FixedIntervalLoopingCall.shortestInterval)
            try await loop.wait()
        }
    }

    @Test("The initial delay is waited first", arguments: bothBackends)
    func initialDelay(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalLoopingCall(name: "later", backend: backend) {
                if runs.append(()) == 2 { throw LoopingCallDone() }
            }
            try loop.start(interval: .seconds(1), initialDelay: .seconds(3))
            try await loop.wait()
            #expect(clock.sleeps == [.seconds(3), .seconds(1)])
        }
    }

    // MARK: Overruns

    /// Runs a loop whose second run takes so long, and gives the sleeps between its six runs.
    private func sleeps(
        _ policy: OverrunPolicy, secondRun: Duration, type: BackendType,
        _ check: (Backend) throws -> Void = { _ in }
    ) async throws -> [Duration] {
        let clock = RecordedClock()
        return try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalLoopingCall(name: "slow", overrun: policy, backend: backend) {
                switch runs.append(()) {
                case 2: clock.stall(for: secondRun)
                case 6: throw LoopingCallDone()
                default: break
                }
            }
            try loop.start(interval: .seconds(1))
            try await loop.wait()
            try check(backend)
            return clock.sleeps
        }
    }

    @Test("Burst catches up and is back on its grid", arguments: bothBackends)
    func burst(type: BackendType) async throws {
        let sleeps = try await sleeps(.burst, secondRun: .milliseconds(2500), type: type) { backend in
            #expect(backend.metrics.value("muster_loop_overruns_total", ["loop": "slow"]) == 1)
            #expect(backend.metrics.value("muster_loop_skipped_total", ["loop": "slow", "reason": "overrun"]) == 0)
        }
        #expect(sleeps == [.seconds(1), .zero, .zero, .milliseconds(500), .seconds(1)])
    }

    @Test("Delay runs at once and goes on from there", arguments: bothBackends)
    func delay(type: BackendType) async throws {
        let sleeps = try await sleeps(.delay, secondRun: .milliseconds(2500), type: type) { backend in
            #expect(backend.metrics.value("muster_loop_overruns_total", ["loop": "slow"]) == 1)
        }
        #expect(sleeps == [.seconds(1), .zero, .seconds(1), .seconds(1), .seconds(1)])
    }

    @Test("Skip leaves starts out and says why", arguments: bothBackends)
    func skip(type: BackendType) async throws {
        let sleeps = try await sleeps(.skip, secondRun: .milliseconds(2500), type: type) { backend in
            let name = "muster_loop_skipped_total"
            #expect(backend.metrics.value(name, ["loop": "slow", "reason": "overrun"]) == 2)
            #expect(backend.metrics.value(name, ["loop": "slow", "reason": "late"]) == 0)
        }
        #expect(sleeps == [.seconds(1), .milliseconds(500), .seconds(1), .seconds(1), .seconds(1)])
    }

    @Test("Skip counts what it woke too late for", arguments: bothBackends)
    func skipLate(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<MonotonicInstant>()
            let start = clock.now
            let loop = FixedIntervalLoopingCall(name: "late", overrun: .skip, backend: backend) {
                runs.append(clock.now)
            }
            try loop.start(interval: .seconds(1))
            await clock.sleepers(atLeast: 1)
            clock.stall(for: .milliseconds(4200))
            try await runs.first(2)
            await clock.sleepers(atLeast: 1)
            #expect(clock.deadlines == [start.advanced(by: .seconds(5))])
            let name = "muster_loop_skipped_total"
            #expect(backend.metrics.value(name, ["loop": "late", "reason": "late"]) == 3)
            #expect(backend.metrics.value(name, ["loop": "late", "reason": "overrun"]) == 0)
            loop.stop()
            try await loop.wait()
        }
    }

    @Test("Only a delayed schedule drifts", arguments: bothBackends, OverrunPolicy.allCases)
    func drift(type: BackendType, policy: OverrunPolicy) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let counted = FixedIntervalLoopingCall(name: "counted", overrun: policy, backend: backend) {
                if runs.append(()) == 1 { clock.stall(for: .milliseconds(1250)) }
            }
            try counted.start(interval: .seconds(1))
            // Skip leaves the start at 1 s out and sleeps until the one at 2 s.
            try await runs.first(policy == .skip ? 1 : 2)
            await clock.sleepers(atLeast: 1)
            let drift = backend.metrics.value("muster_loop_drift_seconds", ["loop": "counted"]).number
            #expect(drift == (policy == .delay ? 0.25 : 0))
            counted.stop()
            try await counted.wait()
        }
    }

    @Test("The first overrun of a row is a warning, the others are told at debug level", arguments: bothBackends)
    func overrunLog(type: BackendType) async throws {
        let clock = RecordedClock()
        let log = CapturedLog()
        try await TestBackend.with(type, clock: clock, logger: log.logger) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalLoopingCall(name: "slow", backend: backend) {
                let run = runs.append(())
                if run == 8 { throw LoopingCallDone() }
                if run != 4 { clock.stall(for: .seconds(2)) }
            }
            try loop.start(interval: .seconds(1))
            try await loop.wait()
            #expect(log.messages(.warning).count == 2)
            #expect(log.messages(.debug).filter { $0 == "looping call outlasted its interval" }.count == 4)
        }
    }

    // MARK: With a time-out

    @Test("A loop with a time-out ends with an error after it", arguments: bothBackends)
    func timeout(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalWithTimeoutLoopingCall(name: "limited", backend: backend) { runs.append(()) }
            try loop.start(interval: .milliseconds(100), timeout: .milliseconds(300))
            let error = await #expect(throws: LoopingCallTimeOut.self) { try await loop.wait() }
            #expect(error == LoopingCallTimeOut(loop: "limited", elapsed: .milliseconds(400)))
            #expect(error.map { "\($0)" } == "looping call 'limited' timed out after 0.4 seconds")
            // At 0, 100, 200, 300 ms, the last of which is not beyond the time-out yet, and at 400 ms.
            #expect(runs.count == 5)
        }
    }

    @Test("The initial delay counts, and a run is not interrupted", arguments: bothBackends)
    func timeoutAfterRun(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = FixedIntervalWithTimeoutLoopingCall(name: "limited", backend: backend) {
                clock.stall(for: .milliseconds(500))
            }
            try loop.start(interval: .milliseconds(100), initialDelay: .milliseconds(50), timeout: .milliseconds(200))
            await #expect(throws: LoopingCallTimeOut(loop: "limited", elapsed: .milliseconds(550))) {
                try await loop.wait()
            }
        }
    }

    @Test("Without a time-out it is a fixed-interval loop", arguments: bothBackends)
    func noTimeout(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalWithTimeoutLoopingCall(name: "unlimited", overrun: .skip, backend: backend) {
                clock.stall(for: .milliseconds(1500))
                if runs.append(()) == 3 { throw LoopingCallDone("over") }
            }
            #expect(throws: LoopingCallError.self) { try loop.start(interval: .zero) }
            try loop.start(interval: .seconds(1))
            #expect(try await loop.wait().value as? String == "over")
            #expect(clock.sleeps == [.milliseconds(500), .milliseconds(500)])
        }
    }
}
