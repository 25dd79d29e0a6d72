// SPDX-License-Identifier: Apache-2.0

import Logging
import Muster
import MusterExecution
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
            clock.advance(to: deadline)
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
                case 1...7: clock.advance(by: .milliseconds(250))
                case 8: clock.advance(by: .milliseconds(3500))
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
            #expect(metrics.value("muster_loop_run_duration_seconds_sum", labels) == 7 * 0.25 + 3.5)
            #expect(metrics.value("muster_loop_last_run_timestamp_seconds", labels) != nil)
            // What says where it stands now vanishes with it.
            #expect(metrics.value("muster_loop_interval_seconds", labels) == nil)
            #expect(metrics.value("muster_loop_drift_seconds", labels) == nil)
            #expect(metrics.value("muster_loop_next_run_timestamp_seconds", labels) == nil)
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
            let last = metrics.value("muster_loop_last_run_timestamp_seconds", ["loop": "shown"]) ?? 0
            let next = metrics.value("muster_loop_next_run_timestamp_seconds", ["loop": "shown"]) ?? 0
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
            clock.advance(by: .seconds(10))
            try await runs.first(3)
            await clock.sleepers(atLeast: 1)
            #expect(backend.metrics.value("muster_loop_runs_total", ["loop": "twin"]) == 3)
            #expect(backend.metrics.value("muster_loop_interval_seconds", ["loop": "twin"]) == 10)
            second.stop()
            try await second.wait()
        }
    }

    @Test("A loop that does not move on is overdue", arguments: bothBackends)
    func overdue(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let gate = Completion<Void>()
            let began = Recorder<Void>()
            let stuck = FixedIntervalLoopingCall(name: "stuck", backend: backend) {
                began.append(())
                try await gate.wait()
            }
            let patient = FixedIntervalLoopingCall(name: "patient", stallLimit: .seconds(120), backend: backend) {
                began.append(())
                try await gate.wait()
            }
            let dynamic = DynamicLoopingCall(name: "dynamic", backend: backend) {
                began.append(())
                try await gate.wait()
                return .seconds(60)
            }
            try stuck.start(interval: .seconds(5))
            try patient.start(interval: .seconds(5))
            try dynamic.start()
            try await began.first(3)
            let loops = backend.loops
            clock.advance(by: .seconds(10))
            #expect(loops.overdue(by: .seconds(10), at: clock.now).isEmpty)
            clock.advance(by: .seconds(1))
            #expect(loops.overdue(by: .seconds(10), at: clock.now).map(\.loop) == ["dynamic"])
            #expect(loops.overdue(by: .seconds(10), at: clock.now).map(\.by) == [.seconds(11)])
            clock.advance(by: .seconds(19))
            #expect(loops.overdue(by: .seconds(10), at: clock.now).map(\.loop) == ["dynamic", "stuck"])
            #expect(loops.overdue(by: .seconds(10), at: clock.now).map(\.by) == [.seconds(30), .seconds(25)])
            clock.advance(by: .seconds(100))
            #expect(loops.overdue(by: .seconds(10), at: clock.now).map(\.loop) == ["dynamic", "patient", "stuck"])
            gate.complete(with: ())
            await clock.sleepers(atLeast: 1)
            stuck.stop()
            patient.stop()
            dynamic.stop()
            _ = try await (stuck.wait(), patient.wait(), dynamic.wait())
        }
    }

    @Test("Once stopped, a loop is not overdue", arguments: bothBackends)
    func notOverdue(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = FixedIntervalLoopingCall(name: "gone", backend: backend) {}
            try loop.start(interval: .seconds(1))
            await clock.sleepers(atLeast: 1)
            let job = loop.job
            loop.stop()
            try await job?.wait()
            clock.advance(by: .seconds(100))
            #expect(backend.loops.overdue(by: .zero, at: clock.now).isEmpty)
            #expect(backend.loops.count == 0)
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
