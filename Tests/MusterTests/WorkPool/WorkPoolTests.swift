// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

@Suite("Work pools", .timeLimit(.minutes(5)))
struct WorkPoolTests {
    /// Both backends with both kinds of pools.
    static let setUps: [(BackendType, WorkPool.Kind)] = bothBackends.flatMap { type in
        [WorkPool.Kind.jobs, .threads].map { (type, $0) }
    }

    @Test("A task has its result, its error or its cancellation in its handle, and is counted", arguments: setUps)
    func results(type: BackendType, kind: WorkPool.Kind) async throws {
        try await TestBackend.with(type) { backend in
            let pool = WorkPool(name: "pool", kind: kind, workers: 1...1, backend: backend)
            let answer = try await pool.submit { 42 }
            let broken = try await pool.submit(name: "broken") { () -> Int in throw TestFailure() }
            #expect(try await answer.result() == 42)
            await #expect(throws: TestFailure.self) { try await broken.result() }
            #expect(answer.name == "pool" && broken.name == "broken")
            let (gate, started) = (Completion<Void>(), Recorder<Void>())
            let running = try await pool.submit {
                started.append(())
                try await gate.wait()
            }
            try await started.first(1)
            let queued = try await pool.submit { 1 }
            queued.cancel()
            await #expect(throws: CancellationError.self) { try await queued.result() }
            #expect(running.outcome == nil)
            running.cancel()
            await #expect(throws: CancellationError.self) { try await running.result() }
            try await pool.shutDown()
            let figures = pool.statistics
            #expect(figures.submitted == 4 && figures.finished == 1 && figures.failed == 1 && figures.cancelled == 2)
            #expect(figures.running == 0 && figures.queued == 0 && figures.workers == 1)
            for (outcome, count) in [("finished", 1.0), ("failed", 1), ("cancelled", 2)] {
                #expect(
                    backend.metrics.value("muster_pool_tasks_total", ["pool": "pool", "outcome": outcome])
                        == MetricValue(count))
            }
            // Three have started; each has waited, and has run.
            #expect(backend.metrics.value("muster_pool_task_queue_seconds_count", ["pool": "pool"]) == 3)
            #expect(backend.metrics.value("muster_pool_task_run_seconds_count", ["pool": "pool"]) == 3)
            #expect(backend.metrics.value("muster_pool_submissions_total", ["pool": "pool"]) == 4)
            #expect(backend.engine.census.jobs == 0)
        }
    }

    @Test("Tasks run side by side up to the number of workers, and in their order", arguments: setUps)
    func bound(type: BackendType, kind: WorkPool.Kind) async throws {
        try await TestBackend.with(type) { backend in
            let pool = WorkPool(name: "pool", kind: kind, workers: 3...3, backend: backend)
            let (started, gates) = (Recorder<Int>(), (0..<12).map { _ in Completion<Void>() })
            var jobs: [Job] = []
            for number in 0..<12 {
                jobs.append(
                    try await pool.submit {
                        started.append(number)
                        try await gates[number].wait()
                    })
            }
            for number in 0..<12 {
                try await started.first(min(12, number + 3))
                #expect(pool.statistics.running == min(3, 12 - number))
                #expect(
                    backend.metrics.value("muster_pool_queue_length", ["pool": "pool"])
                        == MetricValue(Double(max(0, 9 - number))))
                gates[number].complete(with: ())
                try await jobs[number].wait()
            }
            try await pool.shutDown()
            #expect(Set(started.all[..<3]) == [0, 1, 2] && Array(started.all[3...]) == Array(3..<12))
        }
    }

    @Test("Tasks of a pool of threads may block, on either backend", arguments: bothBackends)
    func blocking(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let pool = WorkPool(name: "pool", kind: .threads, workers: 4...4, backend: backend)
            let gate = BlockingGate()
            let blocked = Recorder<Void>()
            for _ in 0..<4 {
                try await pool.submit {
                    blocked.append(())
                    gate.pass()
                }
            }
            try await blocked.first(4)
            // Others go on.
            try await backend.engine.spawn(name: "other") { await backend.engine.yield() }.wait()
            gate.open()
            try await pool.shutDown()
            #expect(pool.statistics.finished == 4)
        }
    }

    @Test("A full queue refuses, or lets the caller wait; a refused task is no job", arguments: bothBackends)
    func full(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let gate = Completion<Void>()
            let pool = WorkPool(
                name: "pool", workers: 1...1, queueLimit: 1, whenFull: .reject, backend: backend)
            try await pool.submit { try await gate.wait() }
            try await pool.submit {}
            let error = await #expect(throws: WorkPoolError.self) { try await pool.submit {} }
            #expect(error == .full(pool: "pool") && error?.description.contains("whenFull: .wait") == true)
            #expect(throws: WorkPoolError.self) { try pool.trySubmit {} }
            #expect(backend.metrics.value("muster_pool_rejections_total", ["pool": "pool"]) == 2)
            #expect(pool.statistics.rejected == 2 && pool.statistics.submitted == 2)
            #expect(backend.metrics.value("muster_jobs_total", [:]) == 2)

            let patient = WorkPool(name: "patient", workers: 1...1, queueLimit: 1, backend: backend)
            try await patient.submit { try await gate.wait() }
            try await patient.submit {}
            let order = Recorder<Int>()
            let callers = (0..<2).map { number in
                Task {
                    let job = try await patient.submit { order.append(number) }
                    return job
                }
            }
            while patient.statistics.queued < 3 { await Task.yield() }
            // One that gives up takes its task with it.
            callers[1].cancel()
            await #expect(throws: CancellationError.self) { try await callers[1].value }
            #expect(patient.statistics.queued == 2 && patient.statistics.cancelled == 1)
            gate.complete(with: ())
            try await callers[0].value.wait()
            #expect(order.all == [0])
            try await pool.shutDown()
            try await patient.shutDown()
        }
    }

    @Test("The number of workers follows the load", arguments: bothBackends)
    func grows(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let pool = WorkPool(name: "pool", workers: 1...10, backend: backend)
            for _ in 0..<3 { try await pool.submit {}.result() }
            #expect(pool.statistics.workers == 1)
            let (gate, running) = (Completion<Void>(), Recorder<Void>())
            for _ in 0..<15 {
                try await pool.submit {
                    running.append(())
                    try await gate.wait()
                }
            }
            try await running.first(10)
            #expect(pool.statistics.workers == 10 && pool.statistics.queued == 5)
            #expect(backend.metrics.value("muster_pool_workers", ["pool": "pool"]) == 10)
            #expect(backend.metrics.value("muster_pool_workers_limit", ["pool": "pool"]) == 10)
            gate.complete(with: ())
            try await pool.shutDown()
            #expect(pool.statistics.workers == 1)
            #expect(backend.metrics.value("muster_pool_workers_busy", ["pool": "pool"]) == 0)
        }
    }

    @Test("Delayed tasks run at their time and in its order, and can be cancelled before it", arguments: bothBackends)
    func delays(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let pool = WorkPool(name: "pool", workers: 1...1, backend: backend)
            let order = Recorder<String>()
            let begin = clock.now
            func submit(_ name: String, after delay: Duration) throws -> ResultJob<Void> {
                try pool.submit(after: delay, name: name) {
                    order.append("\(name) \(begin.duration(to: clock.now))")
                }
            }
            let late = try submit("late", after: .seconds(5))
            await clock.sleepers(atLeast: 1)
            // An earlier one wakes the pool earlier.
            let early = try submit("early", after: .seconds(2))
            let never = try submit("never", after: .seconds(1))
            let atOnce = try submit("at once", after: .zero)
            try await atOnce.result()
            #expect(pool.statistics.delayed == 3)
            #expect(backend.metrics.value("muster_pool_delayed_tasks", ["pool": "pool"]) == 3)
            never.cancel()
            await #expect(throws: CancellationError.self) { try await never.result() }
            for (job, seconds) in [(early, 2), (late, 3)] {
                await clock.sleepers(atLeast: 1)
                await clock.advance(by: .seconds(seconds))
                try await job.result()
            }
            #expect(order.all == ["at once 0.0 seconds", "early 2.0 seconds", "late 5.0 seconds"])
            #expect(pool.statistics.queueTime == .zero, "the delay is no waiting for a worker")
            #expect(throws: WorkPoolError.negativeDelay(pool: "pool")) {
                try pool.submit(after: .seconds(-1)) {}
            }
            // The refusal of one that is due is its error.
            let small = WorkPool(name: "small", workers: 1...1, queueLimit: 0, whenFull: .reject, backend: backend)
            let gate = Completion<Void>()
            try await small.submit { try await gate.wait() }
            let refused = try small.submit(after: .zero) {}
            await #expect(throws: WorkPoolError.full(pool: "small")) { try await refused.result() }
            #expect(small.statistics.rejected == 1)
            gate.complete(with: ())
            try await small.shutDown()
        }
    }

    @Test("Shutting down runs what is left, or cancels it, and leaves nothing pending", arguments: bothBackends)
    func shutDown(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let pool = WorkPool(name: "pool", workers: 1...2, backend: backend)
            let ran = Recorder<Int>()
            for number in 0..<20 { try await pool.submit { ran.append(number) } }
            try pool.submit(after: .milliseconds(2)) { ran.append(20) }
            try await pool.shutDown()
            #expect(ran.all.count == 21)
            await #expect(throws: WorkPoolError.shutDown(pool: "pool")) { try await pool.submit {} }
            #expect(throws: WorkPoolError.shutDown(pool: "pool")) { try pool.submit(after: .seconds(1)) {} }
            try await pool.shutDown()

            let other = WorkPool(name: "other", workers: 1...1, queueLimit: 1, backend: backend)
            let (gate, started) = (Completion<Void>(), Recorder<Void>())
            let running = try await other.submit {
                started.append(())
                try await gate.wait()
            }
            try await started.first(1)
            let queued = try await other.submit {}
            let delayed = try other.submit(after: .seconds(3600)) {}
            let waiting = Task { try await other.submit {} }
            while other.statistics.queued < 2 { await Task.yield() }
            await #expect(throws: TimeLimitExceeded.self) {
                try await other.shutDown(cancelQueued: true, until: .now.advanced(by: .milliseconds(1)))
            }
            for job in [queued, delayed, try await waiting.value, running] {
                guard case .cancelled = try await job.wait() else {
                    Issue.record("\(job.name) was not cancelled")
                    return
                }
            }
            #expect(other.statistics.cancelled == 4)
            try await other.shutDown()
            // A service that starts again opens it again.
            try other.open()
            #expect(try await other.submit { "again" }.result() == "again")
        }
    }

    @Test("A task may submit to its pool, also while that shuts down, and shut it down", arguments: setUps)
    func fromInside(type: BackendType, kind: WorkPool.Kind) async throws {
        try await TestBackend.with(type) { backend in
            // With one worker and no room, each of these would wait for itself.
            let pool = WorkPool(name: "pool", kind: kind, workers: 1...1, queueLimit: 0, backend: backend)
            let ran = Recorder<String>()
            let outer = try await pool.submit {
                for number in 0..<3 { try await pool.submit { ran.append("inner \(number)") } }
                try await pool.shutDown()
                ran.append("outer")
                await #expect(throws: WorkPoolError.shutDown(pool: "pool")) { try await pool.submit {} }
            }
            try await outer.result()
            #expect(ran.all == ["inner 0", "inner 1", "inner 2", "outer"])

            let closing = WorkPool(name: "closing", kind: kind, workers: 1...1, backend: backend)
            let (gate, started) = (Completion<Void>(), Recorder<Void>())
            let late = try await closing.submit {
                started.append(())
                try await gate.wait()
                try await closing.submit {}
            }
            try await started.first(1)
            async let end: Void = closing.shutDown()
            while (try? closing.trySubmit {}) != nil { await Task.yield() }
            gate.complete(with: ())
            await #expect(throws: WorkPoolError.shutDown(pool: "closing")) { try await late.result() }
            try await end
        }
    }

    @Test("Failures cost no worker, and a backend's end ends what is queued", arguments: setUps)
    func failures(type: BackendType, kind: WorkPool.Kind) async throws {
        try await TestBackend.with(type) { backend in
            let pool = WorkPool(name: "pool", kind: kind, workers: 1...1, backend: backend)
            for _ in 0..<50 { try await pool.submit { throw TestFailure() } }
            #expect(try await pool.submit { "still here" }.result() == "still here")
            #expect(pool.statistics.failed == 50)
            let gate = Completion<Void>()
            let jobs = [
                try await pool.submit { try await gate.wait() }, try await pool.submit {},
                try pool.submit(after: .seconds(3600)) {},
            ]
            try await backend.engine.shutDown()
            for job in jobs { #expect(job.outcome != nil) }
            try await pool.shutDown()
            #expect(pool.statistics.queued == 0 && pool.statistics.delayed == 0 && pool.statistics.running == 0)
            try pool.open()
            await #expect(throws: EngineError.self) { try await pool.submit {} }
        }
    }

    @Test("However many tasks come without a delay, one alarm is set for those with one", arguments: setUps)
    func alarms(type: BackendType, kind: WorkPool.Kind) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let pool = WorkPool(name: "pool", kind: kind, workers: 2...2, backend: backend)
            let ran = Recorder<String>()
            try pool.submit(after: .seconds(60)) { ran.append("later") }
            await clock.advance(by: .zero)
            for _ in 0..<50 { try pool.submit(after: .zero) { ran.append("now") } }
            await clock.advance(by: .zero)
            #expect(ran.all.count == 50)
            #expect(clock.deadlines.count == 1)
            // The clock waits for what the alarm starts.
            await clock.advance(by: .seconds(60))
            #expect(ran.all.last == "later")
            #expect(clock.deadlines.isEmpty)
            try await pool.shutDown()
        }
    }

    @Test(
        "A pool that is shut down from a child of its task, by a task twice, or opened meanwhile, ends",
        arguments: setUps)
    func unusualShutDowns(type: BackendType, kind: WorkPool.Kind) async throws {
        try await TestBackend.with(type) { backend in
            // With a limit, for it may be long until another task has begun the shutdown.
            let pool = WorkPool(name: "pool", kind: kind, workers: 1...1, queueLimit: 100, backend: backend)
            @Sendable func takesMore() -> Bool {
                do {
                    try pool.trySubmit {}
                    return true
                } catch WorkPoolError.full {
                    return true
                } catch {
                    return false
                }
            }
            let (isShut, gate) = (Completion<Void>(), Completion<Void>())
            try await pool.submit {
                Task {
                    try await pool.shutDown()
                    isShut.complete(with: ())
                }
                // The shutdown does not wait for this task, to which it belongs: the pool may be open again by the next look.
                while isShut.value == nil, takesMore() { await Task.yield() }
            }
            try await isShut.wait()
            try pool.open()
            try await pool.submit {
                async let first: Void = pool.shutDown()
                async let second: Void = pool.shutDown()
                _ = try await (first, second)
            }.result()
            try pool.open()
            let late = try await pool.submit { try await gate.wait() }
            async let end: Void = pool.shutDown()
            while takesMore() { await Task.yield() }
            try pool.open()
            gate.complete(with: ())
            try await end
            #expect(late.outcome != nil && pool.statistics.running == 0)
        }
    }

    @Test("What no thread can be had for fails, all of it", arguments: bothBackends)
    func noThreads(type: BackendType) async throws {
        let configuration = EngineConfiguration(threadStackSize: 1 << 50)
        try await TestBackend.with(type, configuration: configuration) { backend in
            let pool = WorkPool(name: "pool", kind: .threads, workers: 2...2, backend: backend)
            for _ in 0..<20 {
                let job = try await pool.submit {}
                await #expect(throws: EngineError.self) { try await job.result() }
            }
            #expect(pool.statistics.failed == 20 && pool.statistics.running == 0)
            try await pool.shutDown()
        }
    }

    @Test("Nothing is lost when many submit and cancel at once", arguments: setUps)
    func storm(type: BackendType, kind: WorkPool.Kind) async throws {
        try await TestBackend.with(type) { backend in
            let pool = WorkPool(name: "pool", kind: kind, workers: 1...4, queueLimit: 8, backend: backend)
            let ran = Recorder<Void>()
            let outcomes = try await withThrowingTaskGroup(of: (finished: Int, cancelled: Int).self) { tasks in
                for task in 0..<6 {
                    tasks.addTask {
                        var (finished, cancelled) = (0, 0)
                        for number in 0..<100 {
                            let job =
                                if number % 10 == 9 {
                                    try pool.submit(after: .microseconds(number)) { _ = ran.append(()) }
                                } else {
                                    try await pool.submit { _ = ran.append(()) }
                                }
                            if (number + task) % 3 == 0 { job.cancel() }
                            switch try await job.wait() {
                            case .finished: finished += 1
                            case .cancelled: cancelled += 1
                            case .failed(let error): throw error
                            }
                        }
                        return (finished, cancelled)
                    }
                }
                return try await tasks.reduce((finished: 0, cancelled: 0)) {
                    ($0.finished + $1.finished, $0.cancelled + $1.cancelled)
                }
            }
            try await pool.shutDown()
            let figures = pool.statistics
            #expect(outcomes.finished + outcomes.cancelled == 600 && ran.all.count == outcomes.finished)
            #expect(figures.submitted == 600 && figures.finished == outcomes.finished)
            #expect(figures.cancelled == outcomes.cancelled && figures.workers == 1)
            #expect(backend.engine.census.jobs == 0)
        }
    }

    @Test("A pool that cannot work says so", arguments: bothBackends)
    func invalid(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            for pool in [
                WorkPool(name: "odd", workers: 0...3, backend: backend),
                WorkPool(name: "odd", workers: 1...3, growThreshold: 0.4, backend: backend),
                WorkPool(name: "odd", workers: 1...3, growThreshold: .nan, backend: backend),
            ] {
                let error = await #expect(throws: WorkPoolError.self) { try await pool.submit {} }
                #expect(error?.description.contains("growThreshold") == true)
            }
        }
    }
}
