// SPDX-License-Identifier: Apache-2.0

import Logging
import Muster
import MusterExecution
import MusterLock
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

@Suite("The life of looping calls", .timeLimit(.minutes(5)))
struct LoopLifeTests {
    private func isStopped(_ end: LoopEnd) -> Bool {
        if case .stopped = end { true } else { false }
    }

    @Test("Stopping a loop that sleeps ends it at once", arguments: bothBackends)
    func stopAsleep(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalLoopingCall(name: "asleep", backend: backend) { runs.append(()) }
            try loop.start(interval: .seconds(60))
            await clock.sleepers(atLeast: 1)
            loop.stop()
            #expect(isStopped(try await loop.wait()))
            #expect(runs.count == 1)
            #expect(clock.deadlines.isEmpty)
        }
    }

    @Test("Stopping a loop in its initial delay keeps it from running", arguments: bothBackends)
    func stopBeforeFirst(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalLoopingCall(name: "early", backend: backend) { runs.append(()) }
            try loop.start(interval: .seconds(1), initialDelay: .seconds(60))
            loop.stop()
            #expect(isStopped(try await loop.wait()))
            #expect(runs.count == 0)
        }
    }

    @Test("Stopping a loop that runs lets the run finish", arguments: bothBackends)
    func stopRunning(type: BackendType) async throws {
        try await TestBackend.with(type, clock: ManualClock()) { backend in
            let began = Recorder<Void>()
            let finished = Recorder<Bool>()
            let gate = Completion<Void>()
            let loop = FixedIntervalLoopingCall(name: "busy", backend: backend) {
                began.append(())
                try await gate.wait()
                finished.append(Task.isCancelled)
            }
            try loop.start(interval: .seconds(1))
            try await began.first(1)
            loop.stop()
            loop.stop()
            #expect(loop.isRunning)
            gate.complete(with: ())
            #expect(isStopped(try await loop.wait()))
            #expect(finished.all == [false])
        }
    }

    @Test("Stopping twice, or before the start, changes nothing", arguments: bothBackends)
    func stopTwice(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = FixedIntervalLoopingCall(name: "twice", backend: backend) {}
            loop.stop()
            #expect(!loop.isRunning)
            #expect(loop.outcome == nil)
            try loop.start(interval: .seconds(1))
            await clock.sleepers(atLeast: 1)
            loop.stop()
            loop.stop()
            #expect(isStopped(try await loop.wait()))
            loop.stop()
            #expect(isStopped(try await loop.wait()))
        }
    }

    @Test("A loop may stop itself", arguments: bothBackends)
    func stopItself(type: BackendType) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let runs = Recorder<Void>()
            let itself = Locked<FixedIntervalLoopingCall?>(nil)
            let loop = FixedIntervalLoopingCall(name: "itself", backend: backend) {
                if runs.append(()) == 3 { itself.withLock { $0 }?.stop() }
            }
            itself.withLock { $0 = loop }
            try loop.start(interval: .seconds(1))
            #expect(isStopped(try await loop.wait()))
            #expect(runs.count == 3)
            itself.withLock { $0 = nil }
        }
    }

    @Test("A wait ends at its deadline, and the loop goes on", arguments: bothBackends)
    func waitUntil(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = FixedIntervalLoopingCall(name: "long", backend: backend) {}
            try loop.start(interval: .seconds(60))
            await clock.sleepers(atLeast: 1)
            let deadline = clock.now.advanced(by: .seconds(5))
            let waiting = Task { _ = try await loop.wait(until: deadline) }
            await clock.sleepers(atLeast: 2)
            await clock.advance(to: deadline)
            let error = await #expect(throws: TimeLimitExceeded.self) { try await waiting.value }
            #expect(error.map { "\($0)" } == "looping call 'long' was not over at the deadline")
            #expect(loop.isRunning)
            loop.stop()
            try await loop.wait()
        }
    }

    @Test("A loop can be started again after each kind of end", arguments: bothBackends)
    func restart(type: BackendType) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalLoopingCall(name: "again", backend: backend) {
                switch runs.append(()) {
                case 1: throw TestFailure()
                case 2: throw LoopingCallDone(2)
                default: throw LoopingCallDone(3)
                }
            }
            try loop.start(interval: .seconds(1))
            await #expect(throws: TestFailure()) { try await loop.wait() }
            try loop.start(interval: .seconds(1))
            #expect(try await loop.wait().value as? Int == 2)
            try loop.start(interval: .seconds(2))
            #expect(try await loop.wait().value as? Int == 3)
            #expect(runs.count == 3)
        }
    }

    @Test("Waiting for a loop that was never started is an error", arguments: bothBackends)
    func waitBeforeStart(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let loop = FixedIntervalLoopingCall(name: "never", backend: backend) {}
            await #expect(throws: LoopingCallError.notStarted(loop: "never")) { try await loop.wait() }
            let dynamic = DynamicLoopingCall(name: "never", backend: backend) { nil }
            await #expect(throws: LoopingCallError.notStarted(loop: "never")) { try await dynamic.wait() }
        }
    }

    @Test("All who wait get the value", arguments: bothBackends)
    func manyWaitForValue(type: BackendType) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let gate = Completion<Void>()
            let loop = FixedIntervalLoopingCall(name: "popular", backend: backend) {
                try await gate.wait()
                throw LoopingCallDone(42)
            }
            try loop.start(interval: .seconds(1))
            try await withThrowingTaskGroup(of: Int?.self) { group in
                for _ in 0..<20 { group.addTask { try await loop.wait().value as? Int } }
                gate.complete(with: ())
                for try await value in group { #expect(value == 42) }
            }
        }
    }

    @Test("All who wait get the error", arguments: bothBackends)
    func manyWaitForError(type: BackendType) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let gate = Completion<Void>()
            let loop = FixedIntervalLoopingCall(name: "popular", backend: backend) {
                try await gate.wait()
                throw TestFailure("for all")
            }
            try loop.start(interval: .seconds(1))
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<20 {
                    group.addTask { await #expect(throws: TestFailure("for all")) { try await loop.wait() } }
                }
                gate.complete(with: ())
            }
        }
    }

    @Test("A loop whose job is cancelled has been stopped", arguments: bothBackends)
    func jobCancelled(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = FixedIntervalLoopingCall(name: "cancelled", backend: backend) {
                try await clock.sleep(for: .seconds(1))
            }
            try loop.start(interval: .seconds(60))
            await clock.sleepers(atLeast: 1)
            loop.job?.cancel()
            #expect(isStopped(try await loop.wait()))
            #expect(backend.metrics.value("muster_loop_run_failures_total", ["loop": "cancelled"]) == 0)
        }
    }

    @Test("A loop that cannot get a thread says so, and whoever waits is not left waiting")
    func noThread() async throws {
        try await TestBackend.with(.threading, configuration: EngineConfiguration(threadLimit: 1)) { backend in
            let gate = Completion<Void>()
            let job = try backend.engine.spawn(name: "only") { try await gate.wait() }
            let loop = FixedIntervalLoopingCall(name: "late", backend: backend) { throw LoopingCallDone(1) }
            #expect(throws: EngineError.threadLimitReached(limit: 1)) { try loop.start(interval: .seconds(1)) }
            #expect(!loop.isRunning)
            await #expect(throws: LoopingCallError.notStarted(loop: "late")) { try await loop.wait() }
            gate.complete(with: ())
            try await job.wait()
        }
    }

    @Test("A stopped loop holds no thread")
    func holdsNoThread() async throws {
        let clock = ManualClock()
        try await TestBackend.with(.threading, clock: clock) { backend in
            for round in 1...100 {
                let loop = FixedIntervalLoopingCall(name: "round", backend: backend) {}
                try loop.start(interval: .seconds(1))
                await clock.sleepers(atLeast: 1)
                #expect(backend.engine.census.jobs == 1)
                let job = loop.job
                loop.stop()
                try await loop.wait()
                try await job?.wait()
                #expect(backend.engine.census.jobs == 0, "after round \(round)")
            }
            // Loops one after the other get by with a thread or two.
            #expect(backend.engine.nativeThreads < 10)
        }
    }

    // MARK: Monitoring

    @Test("The metrics of a loop are exact", arguments: bothBackends)
    func metrics(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = FixedIntervalLoopingCall(name: "exact", overrun: .skip, backend: backend) {
                switch runs.append(()) {
                case 1...7: clock.stall(for: .milliseconds(250))
                case 8: clock.stall(for: .milliseconds(3500))
                case 9: throw TestFailure()
                default: throw LoopingCallDone()
                }
            }
            try loop.start(interval: .seconds(1), stopsOnError: false)
            try await loop.wait()
            let metrics = backend.metrics
            let labels = ["loop": "exact", "backend": type.rawValue]
            #expect(metrics.value("muster_loop_runs_total", labels) == 10)
            #expect(metrics.value("muster_loop_run_failures_total", labels) == 1)
            #expect(metrics.value("muster_loop_overruns_total", labels) == 1)
            #expect(
                metrics.value("muster_loop_skipped_total", labels.merging(["reason": "overrun"]) { $1 }) == 3)
            #expect(metrics.value("muster_loop_lateness_seconds_count", labels) == 10)
            #expect(metrics.value("muster_loop_lateness_seconds_sum", labels) == 0)
            #expect(metrics.value("muster_loop_run_duration_seconds_count", labels) == 10)
            #expect(metrics.value("muster_loop_run_duration_seconds_sum", labels) == 5.25)
            #expect(metrics.value("muster_loop_last_run_timestamp_seconds", labels).number != nil)
            // What says where it stands now vanishes with it.
            #expect(metrics.value("muster_loop_interval_seconds", labels).number == nil)
            #expect(metrics.value("muster_loop_drift_seconds", labels).number == nil)
            #expect(metrics.value("muster_loop_next_run_timestamp_seconds", labels).number == nil)
        }
    }

    @Test("While a loop runs, its interval and its next run are exported", arguments: bothBackends)
    func gauges(type: BackendType) async throws {
        let clock = ManualClock(now: .now)
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = FixedIntervalLoopingCall(name: "shown", backend: backend) {}
            try loop.start(interval: .seconds(30))
            await clock.sleepers(atLeast: 1)
            let metrics = backend.metrics
            #expect(metrics.value("muster_loop_interval_seconds", ["loop": "shown"]) == 30)
            let last = metrics.value("muster_loop_last_run_timestamp_seconds", ["loop": "shown"]).number ?? 0
            let next = metrics.value("muster_loop_next_run_timestamp_seconds", ["loop": "shown"]).number ?? 0
            // Two readings of the wall clock lie between them; a step of it aside they differ by the interval.
            #expect(abs(next - last - 30) < 5)
            loop.stop()
            try await loop.wait()
        }
    }

    @Test("Two loops of one name add up, and the end of one leaves the other's figures", arguments: bothBackends)
    func sameName(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let first = FixedIntervalLoopingCall(name: "twin", backend: backend) { runs.append(()) }
            let second = FixedIntervalLoopingCall(name: "twin", backend: backend) { runs.append(()) }
            try first.start(interval: .seconds(10))
            try second.start(interval: .seconds(10))
            await clock.sleepers(atLeast: 2)
            #expect(backend.loops.count == 2)
            #expect(backend.metrics.value("muster_loop_runs_total", ["loop": "twin"]) == 2)
            let job = first.job
            first.stop()
            try await first.wait()
            try await job?.wait()
            #expect(backend.loops.count == 1)
            await clock.advance(by: .seconds(10))
            #expect(backend.metrics.value("muster_loop_runs_total", ["loop": "twin"]) == 3)
            #expect(backend.metrics.value("muster_loop_interval_seconds", ["loop": "twin"]) == 10)
            second.stop()
            try await second.wait()
        }
    }

    @Test("A run that lasts is overdue, and stalled only beyond a stall limit", arguments: bothBackends)
    func overdue(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let gate = Completion<Void>()
            let began = Recorder<Void>()
            let stuck = FixedIntervalLoopingCall(name: "stuck", stallLimit: .seconds(10), backend: backend) {
                began.append(())
                try await gate.wait()
            }
            let patient = FixedIntervalLoopingCall(name: "patient", backend: backend) {
                began.append(())
                try await gate.wait()
            }
            let dynamic = DynamicLoopingCall(name: "dynamic", stallLimit: .seconds(10), backend: backend) {
                began.append(())
                try await gate.wait()
                return .seconds(60)
            }
            let long = DynamicLoopingCall(name: "long", backend: backend) {
                began.append(())
                try await gate.wait()
                return .seconds(60)
            }
            try stuck.start(interval: .seconds(5))
            try patient.start(interval: .seconds(5))
            try dynamic.start()
            try long.start()
            try await began.first(4)
            func stalled() -> [LoopMonitor.Stall] { backend.loops.stalled(limit: .seconds(3600), at: clock.now) }
            await clock.advance(by: .seconds(10))
            #expect(stalled().isEmpty)
            await clock.advance(by: .seconds(1))
            #expect(stalled().map(\.loop) == ["dynamic"])
            #expect(stalled().map(\.by) == [.seconds(11)])
            await clock.advance(by: .seconds(19))
            #expect(stalled().map(\.loop) == ["dynamic", "stuck"])
            #expect(stalled().map(\.by) == [.seconds(30), .seconds(25)])
            await clock.advance(by: .seconds(3600))
            #expect(stalled().map(\.loop) == ["dynamic", "stuck"])
            // What says from when on a loop is overdue: the next start, or the run's own where none is fixed.
            func due(_ loop: String) -> Double? {
                backend.metrics.value("muster_loop_next_run_timestamp_seconds", ["loop": loop]).number
            }
            let (fixed, dynamicDue) = try (#require(due("patient")), #require(due("long")))
            #expect(abs(fixed - dynamicDue - 5) < 1)
            gate.complete(with: ())
            await clock.sleepers(atLeast: 1)
            for loop in [stuck, patient, dynamic, long] { loop.stop() }
            _ = try await (stuck.wait(), patient.wait(), dynamic.wait(), long.wait())
        }
    }

    @Test("The delays of retries are progress, within the run's own job", arguments: bothBackends)
    func retriesAreProgress(type: BackendType) async throws {
        struct Failure: Error {}
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let attempts = Recorder<Void>()
            let retry = RetryDecorator(delayIncrement: .seconds(10), clock: clock) { $0 is Failure }
            let loop = DynamicLoopingCall(name: "retries", stallLimit: .seconds(5), backend: backend) {
                try await retry {
                    attempts.append(())
                    throw Failure()
                }
            }
            try loop.start()
            await clock.advance(by: .zero)
            for attempt in 1...6 {
                #expect(attempts.count == attempt)
                #expect(backend.loops.stalled(limit: .seconds(3600), at: clock.now).isEmpty)
                await clock.advance(to: try #require(clock.deadlines.first))
            }
            #expect(clock.now > MonotonicInstant(nanoseconds: 0).advanced(by: .seconds(10)))
            loop.job?.cancel()
            try await loop.wait()
        }
    }

    @Test("A job that the run has started does not speak for it", arguments: bothBackends)
    func retriesElsewhere(type: BackendType) async throws {
        struct Failure: Error {}
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let began = Recorder<Void>()
            let retry = RetryDecorator(delayIncrement: .seconds(10), clock: clock) { $0 is Failure }
            let loop = DynamicLoopingCall(name: "waits", stallLimit: .seconds(5), backend: backend) {
                let other = try backend.engine.spawn(name: "other") {
                    try await retry { () async throws in
                        began.append(())
                        throw Failure()
                    }
                }
                defer { other.cancel() }
                try await other.wait()
                return nil
            }
            try loop.start()
            try await began.first(1)
            await clock.sleepers(atLeast: 1)
            await clock.advance(by: .seconds(6))
            #expect(backend.loops.stalled(limit: .seconds(3600), at: clock.now).map(\.loop) == ["waits"])
            loop.job?.cancel()
            try await loop.wait()
        }
    }

    @Test("A thread that a run blocks is stalled; one that blocks in runBlocking is not")
    func blockedThread() async throws {
        try await TestBackend.with(.threading) { backend in
            let (blocked, allowed) = (BlockingGate(), BlockingGate())
            let began = Recorder<Void>()
            let first = DynamicLoopingCall(name: "blocks", backend: backend) {
                began.append(())
                blocked.pass()
                return .seconds(60)
            }
            let second = DynamicLoopingCall(name: "blocks on purpose", backend: backend) {
                try await backend.engine.runBlocking {
                    began.append(())
                    allowed.pass()
                }
                return .seconds(60)
            }
            try first.start()
            try second.start()
            try await began.first(2)
            var stalled: [String] = []
            while stalled.isEmpty {
                stalled = backend.loops.stalled(limit: .milliseconds(20), at: .now).map(\.loop)
                await Task.yield()
            }
            #expect(stalled == ["blocks"])
            blocked.open()
            allowed.open()
            for loop in [first, second] { loop.stop() }
            _ = try await (first.wait(), second.wait())
            #expect(backend.loops.stalled(limit: .zero, at: .now).isEmpty)
        }
    }

    @Test("A loop that has ended with an error warns until someone learns of it", arguments: bothBackends)
    func ended(type: BackendType) async throws {
        struct Failure: Error, CustomStringConvertible { var description: String { "told to fail" } }
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            func isDead(_ loop: LoopingCall) async throws { try await loop.job?.wait() }
            let first = try group.addTimer(name: "first", interval: .seconds(60)) { throw Failure() }
            try await isDead(first)
            try await group.wait()
            #expect(backend.loops.endedResult == .warn("looping call 'first' ended with an error: told to fail"))
            let second = try group.addTimer(name: "second", interval: .seconds(60)) { throw Failure() }
            try await isDead(second)
            try await group.wait()
            #expect(
                backend.loops.endedResult
                    == .warn("looping call 'first' ended with an error (so did: second): told to fail"))
            // One that waits for it knows.
            await #expect(throws: Failure.self) { try await first.wait() }
            #expect(backend.loops.endedResult == .warn("looping call 'second' ended with an error: told to fail"))
            // So does one that takes it off, or that starts another in its place.
            group.removeTimer(second)
            #expect(backend.loops.endedResult == .pass)
            try await isDead(try group.addTimer(name: "third", interval: .seconds(60)) { throw Failure() })
            try await group.wait()
            #expect(backend.loops.endedResult != .pass)
            let began = Completion<Void>()
            try group.addTimer(name: "third", interval: .seconds(60)) { began.complete(with: ()) }
            try await began.wait()
            #expect(backend.loops.endedResult == .pass)
            try await isDead(try group.addTimer(name: "fourth", interval: .seconds(60)) { throw Failure() })
            try await group.stop()
            #expect(backend.loops.endedResult == .pass)
        }
    }

    @Test("A name that the application's metrics have taken costs the figures, not the loop", arguments: bothBackends)
    func metricsTaken(type: BackendType) async throws {
        let metrics = try MetricRegistry.forTesting()
        let log = CapturedLog()
        _ = try metrics.gaugeFamily("muster_loop_lateness_seconds", help: "Something else.", labelNames: [])
        let backend = try TestBackend.make(type, clock: RecordedClock(), metrics: metrics, logger: log.logger)
        let loop = FixedIntervalLoopingCall(name: "hidden", backend: backend) { throw LoopingCallDone(1) }
        try loop.start(interval: .seconds(1))
        #expect(try await loop.wait().value as? Int == 1)
        #expect(log.messages(.error) == ["looping call is not exported"])
        try await backend.engine.shutDown()
    }
}
