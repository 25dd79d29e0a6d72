// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterLock
import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Testing

/// A job's life, on both engines.
@Suite(.timeLimit(.minutes(3))) struct EngineJobTests {
    struct Failure: Error, Equatable {}

    @Test(arguments: EngineKind.allCases)
    func `a job has a name, a group and a number, and is known to its own code`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let seen = Locked<[Job?]>([])
            let job = try engine.spawn(name: "worker", group: "pool") {
                seen.withLock { $0.append(Job.current) }
                await withTaskGroup(of: Void.self) { group in
                    group.addTask { seen.withLock { $0.append(Job.current) } }
                }
                await Task { seen.withLock { $0.append(Job.current) } }.value
            }
            let other = try engine.spawn(name: "other") {}
            let outcome = try await job.wait()
            try await other.wait()
            #expect(job.name == "worker" && job.group == "pool" && other.group == nil && job.id != other.id)
            #expect(outcome.error == nil && job.state == .finished)
            let all = seen.withLock { $0 }
            #expect(all.count == 3 && all.allSatisfy { $0 === job })
            #expect(Job.current == nil)
            #expect(engine.name == kind.rawValue)
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `a job's error is to be had from its handle`(kind: EngineKind) async throws {
        let registry = try makeRegistry()
        try await withEngine(kind, registry: registry) { engine in
            let job = try engine.spawn(name: "failing") { throw Failure() }
            let outcome = try await job.wait()
            #expect(outcome.error is Failure && job.outcome?.error is Failure)
            // Nobody has cancelled it, so this is an error like any other.
            let odd = try engine.spawn(name: "odd") { throw CancellationError() }
            #expect(try await odd.wait().error is CancellationError)
        }
        let failures = try registry.counterFamily(
            "muster_job_failures_total", help: "Jobs that ended with an error.", labelNames: ["backend"])
        #expect(failures.labels(kind.rawValue).value == 2)
    }

    @Test(arguments: EngineKind.allCases)
    func `a job has the result that its body returns, typed`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let job = try engine.spawn(name: "counts") {
                await Task.yield()
                return 42
            }
            let number: Int = try await job.result()
            #expect(number == 42)
            guard case .finished = try await job.wait() else {
                Issue.record("it has not finished")
                return
            }
            // Any number of times, and on the handle that any job is.
            #expect(try await job.result() == 42)
            #expect((job as Job).outcome?.error == nil)
            let failing = try engine.spawn(name: "fails") { () -> String in throw Failure() }
            await #expect(throws: Failure.self) { try await failing.result() }
            let gate = Completion<Void>()
            let cancelled = try engine.spawn(name: "waits") { () -> Int in
                try await gate.wait()
                return 1
            }
            await #expect(throws: TimeLimitExceeded.self) { try await cancelled.result(until: .now) }
            cancelled.cancel()
            await #expect(throws: CancellationError.self) { try await cancelled.result() }
            // One that returns although it was cancelled has its result.
            let begun = Completion<Void>()
            let stubborn = try engine.spawn(name: "stubborn") {
                begun.complete(with: ())
                try? await gate.wait()
                return "anyway"
            }
            try await begun.wait()
            stubborn.cancel()
            #expect(try await stubborn.result() == "anyway")
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `the body of a job that is cancelled before its start never runs`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let blocker = try await Blocker(engine)
            let ran = Counter()
            let job = try engine.spawn(name: "never") { ran.add() }
            #expect(job.state == .queued && engine.census.queued == 1)
            job.cancel()
            #expect(job.state == .stopping && engine.census.queued == 0 && engine.census.stopping == 1)
            blocker.goOn()
            guard case .cancelled = try await job.wait() else {
                Issue.record("it was not cancelled")
                return
            }
            #expect(ran.value == 0 && engine.census.jobs == 0)
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `cancellation wakes a job and counts by how the body ends`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let isRunning = Latch(3)
            @Sendable func sleep() async throws {
                isRunning.countDown()
                try await engine.sleep(for: .seconds(3600))
            }
            let cancelled = try engine.spawn(name: "cancelled") { try await sleep() }
            let finished = try engine.spawn(name: "finished") { try? await sleep() }
            let failed = try engine.spawn(name: "failed") {
                do { try await sleep() } catch { throw Failure() }
            }
            await isRunning.wait()
            #expect(engine.census.running == 3)
            for job in [cancelled, finished, failed] {
                job.cancel()
                job.cancel()
            }
            guard case .cancelled = try await cancelled.wait() else {
                Issue.record("it was not cancelled")
                return
            }
            guard case .finished = try await finished.wait() else {
                Issue.record("it did not finish")
                return
            }
            #expect(try await failed.wait().error is Failure)
            #expect(engine.census.jobs == 0)
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `cancellation after the end changes nothing`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let job = try engine.spawn(name: "over") {}
            try await job.wait()
            job.cancel()
            #expect(job.state == .finished && engine.census == Census(nativeThreads: engine.census.nativeThreads))
            guard case .finished = job.outcome else {
                Issue.record("the outcome changed")
                return
            }
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `links are called once each, before and after the end`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let calls = Locked<[String]>([])
            let mayEnd = Completion<Void>()
            let thread = Locked<Int32>(0)
            let job = try engine.spawn(name: "linked") {
                try await mayEnd.wait()
                thread.withLock { $0 = NativeThread.currentIdentifier }
            }
            let endThread = Locked<Int32>(0)
            job.link { outcome in
                calls.withLock { $0.append("before \(outcome)") }
                endThread.withLock { $0 = NativeThread.currentIdentifier }
            }
            mayEnd.complete(with: ())
            try await job.wait()
            job.link { outcome in calls.withLock { $0.append("after \(outcome)") } }
            let seen = calls.withLock { $0 }
            #expect(seen == ["before finished", "after finished"])
            let (ran, ended) = (thread.withLock { $0 }, endThread.withLock { $0 })
            #expect(ran == ended)
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `any number of tasks may wait, with and without a deadline`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let mayEnd = Completion<Void>()
            let job = try engine.spawn(name: "awaited") { try await mayEnd.wait() }
            let error = await #expect(throws: TimeLimitExceeded.self) {
                try await job.wait(until: .now.advanced(by: .milliseconds(1)))
            }
            #expect(error?.description.contains("'awaited'") == true)
            let impatient = Task { try await job.wait() }
            impatient.cancel()
            await #expect(throws: CancellationError.self) { try await impatient.value }
            let waiting = (0..<100).map { _ in Task { try await job.wait() } }
            let jobs = try (0..<10).map { number in
                try engine.spawn(name: "waiter \(number)") { try await job.wait(until: .distantFuture) }
            }
            mayEnd.complete(with: ())
            for task in waiting { _ = try await task.value }
            for job in jobs { #expect(try await job.wait().error == nil) }
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `when a wait is over the job is in no count any more`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            for number in 0..<300 {
                let job = try engine.spawn(name: "short") { if number % 3 == 0 { await engine.yield() } }
                try await job.wait()
                #expect(engine.census.jobs == 0)
            }
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `the figures add up at every moment`(kind: EngineKind) async throws {
        let registry = try makeRegistry()
        let alive = try registry.gaugeFamily(
            "muster_worker_jobs", help: "Jobs alive, by state.", labelNames: ["backend", "state"])
        let gauges = [JobState.queued, .running, .stopping].map { alive.labels(kind.rawValue, $0.rawValue) }
        let jobs = 900
        try await withEngine(kind, registry: registry) { engine in
            #expect(gauges.allSatisfy { $0.value == 0 }, "exported from the start")
            let isOver = Counter()
            let wrong = Counter()
            let observer = Task.detached {
                try await onThread {
                    while isOver.value == 0 {
                        let census = engine.census
                        if census.queued < 0 || census.running < 0 || census.stopping < 0 || census.jobs > jobs {
                            wrong.add()
                        }
                        for gauge in gauges where (gauge.value ?? -1) < 0 { wrong.add() }
                    }
                }
            }
            let spawned = Locked<[Job]>([])
            let canceller = Task.detached {
                try await onThread {
                    var generator = SplitMix64(seed: 5)
                    while isOver.value == 0 {
                        spawned.withLock { $0.randomElement(using: &generator) }?.cancel()
                    }
                }
            }
            for number in 0..<jobs {
                // The threading engine has a thread for so many.
                if number % 300 == 299 { for job in spawned.withLock({ $0 }) { try await job.wait() } }
                let job = try engine.spawn(name: "short") {
                    await engine.yield()
                    if number % 7 == 0 { try await engine.sleep(for: .microseconds(50)) }
                }
                spawned.withLock { $0.append(job) }
            }
            for job in spawned.withLock({ $0 }) { try await job.wait() }
            isOver.add()
            try await observer.value
            try await canceller.value
            #expect(wrong.value == 0)
            #expect(engine.census.jobs == 0 && engine.ledger.jobs.isEmpty)
            #expect(gauges.allSatisfy { $0.value == 0 })
        }
        let total = try registry.counterFamily("muster_jobs_total", help: "Jobs spawned.", labelNames: ["backend"])
        #expect(total.labels(kind.rawValue).value == UInt64(jobs))
    }

    @Test(arguments: EngineKind.allCases)
    func `a second engine of the same name takes nothing from the first one's figures`(kind: EngineKind) async throws {
        let registry = try makeRegistry()
        let running = try registry.gaugeFamily(
            "muster_worker_jobs", help: "Jobs alive, by state.", labelNames: ["backend", "state"]
        ).labels(kind.rawValue, "running")
        try await withEngine(kind, registry: registry) { engine in
            let isRunning = Latch()
            let job = try engine.spawn(name: "running") {
                isRunning.countDown()
                try await engine.sleep(for: .seconds(3600))
            }
            await isRunning.wait()
            try await withEngine(kind, registry: registry) { _ in #expect(running.value == 1) }
            job.cancel()
            try await job.wait()
            #expect(running.value == 0)
        }
    }

    // MARK: Shutting down

    @Test(arguments: EngineKind.allCases)
    func `an engine that is shut down ends its jobs and takes no more`(kind: EngineKind) async throws {
        let engine = try kind.make(registry: makeRegistry())
        let isRunning = Latch(20)
        let jobs = try (0..<20).map { number in
            try engine.spawn(name: "job \(number)") {
                isRunning.countDown()
                try await engine.sleep(for: .seconds(3600))
            }
        }
        await isRunning.wait()
        try await engine.shutDown()
        for job in jobs {
            guard case .cancelled = job.outcome else {
                Issue.record("a job was not over")
                return
            }
        }
        let ran = Counter()
        let error = #expect(throws: EngineError.self) { try engine.spawn(name: "late") { ran.add() } }
        #expect(error == .shutDown(engine: kind.rawValue) && error?.description.contains(kind.rawValue) == true)
        try await engine.shutDown()
        try await until { engine.nativeThreads == 0 }
        #expect(ran.value == 0 && engine.census == Census())
    }

    @Test(arguments: EngineKind.allCases)
    func `an engine that was never used is shut down too`(kind: EngineKind) async throws {
        let engine = try kind.make(registry: makeRegistry())
        #expect(engine.nativeThreads == 0)
        try await engine.shutDown()
        #expect(engine.nativeThreads == 0)
    }

    @Test(arguments: EngineKind.allCases)
    func `a job that does not end is not waited for beyond the deadline`(kind: EngineKind) async throws {
        let engine = try kind.make(registry: makeRegistry())
        let isRunning = Latch()
        let mayEnd = Latch()
        let job = try engine.spawn(name: "stubborn") {
            isRunning.countDown()
            await mayEnd.wait()
        }
        await isRunning.wait()
        let error = await #expect(throws: TimeLimitExceeded.self) {
            try await engine.shutDown(until: .now.advanced(by: .milliseconds(2)))
        }
        #expect(error?.description.contains(kind.rawValue) == true)
        #expect(job.state == .stopping)
        #expect(throws: EngineError.self) { try engine.spawn(name: "late") {} }
        mayEnd.countDown()
        try await engine.shutDown()
        guard case .finished = job.outcome else {
            Issue.record("the job was not over")
            return
        }
        try await until { engine.nativeThreads == 0 }
    }

    @Test(arguments: EngineKind.allCases)
    func `jobs that are spawned while the engine shuts down run or are refused`(kind: EngineKind) async throws {
        for _ in 0..<20 {
            let engine = try kind.make(registry: makeRegistry())
            let taken = Locked<[Job]>([])
            let spawner = Task.detached {
                while true {
                    do throws(EngineError) {
                        let job = try engine.spawn(name: "racing") { await engine.yield() }
                        taken.withLock { $0.append(job) }
                    } catch {
                        return error
                    }
                }
            }
            spin(20)
            try await engine.shutDown()
            let error = await spawner.value
            guard case .shutDown = error else {
                if case .threadLimitReached = error { continue }
                Issue.record("\(error)")
                return
            }
            let jobs = taken.withLock { $0 }
            #expect(jobs.allSatisfy { $0.outcome != nil })
            #expect(engine.census.jobs == 0)
        }
    }
}
