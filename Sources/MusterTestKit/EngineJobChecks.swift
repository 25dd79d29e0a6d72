// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterLock
import MusterMetrics
import MusterPlatform

private struct Deliberate: Error {}

extension EngineConformance {
    static let jobChecks = [
        EngineConformance("a job has a name, a group and a number, and is known to its own code") { subject in
            let seen = Locked<[Job?]>([])
            let job = try subject.engine.spawn(name: "worker", group: "pool") {
                seen.withLock { $0.append(Job.current) }
                await withTaskGroup(of: Void.self) { group in
                    group.addTask { seen.withLock { $0.append(Job.current) } }
                }
                await Task { seen.withLock { $0.append(Job.current) } }.value
            }
            let other = try subject.engine.spawn(name: "other") {}
            try await other.wait()
            try expect(try await job.wait().error == nil, "a job that returns has failed")
            try expect(job.name == "worker" && job.group == "pool" && other.group == nil, "names are mixed up")
            try expect(job.id != other.id, "two jobs have one number")
            let all = seen.withLock { $0 }
            try expect(all.count == 3 && all.allSatisfy { $0 === job }, "Job.current is not the job that runs")
            try expect(Job.current == nil, "Job.current is a job outside of jobs")
            try expect(job.state == .finished, "a job that was waited for is not over")
        },
        EngineConformance("a job has the result that its body returns, or its error") { subject in
            let job = try subject.engine.spawn(name: "counts") {
                await Task.yield()
                return 42
            }
            try expect(try await job.result() == 42, "the result is not what the body returned")
            try expect(try await job.result() == 42, "the result is to be had only once")
            let failing = try subject.engine.spawn(name: "fails") { () -> String in throw Deliberate() }
            try await expect(Deliberate.self, "the body's error is lost") { try await failing.result() }
            // Nobody has cancelled it, so this is an error like any other.
            let odd = try subject.engine.spawn(name: "odd") { throw CancellationError() }
            try expect(
                try await odd.wait().error is CancellationError,
                "an error counts as a cancellation that nobody asked for")
            let gate = Completion<Void>()
            let begun = Countdown()
            let stubborn = try subject.engine.spawn(name: "stubborn") {
                begun.report()
                try? await gate.wait()
                return "anyway"
            }
            try await begun.wait()
            try await expect(TimeLimitExceeded.self, "a wait goes on beyond its deadline") {
                try await stubborn.result(until: .now)
            }
            stubborn.cancel()
            try expect(try await stubborn.result() == "anyway", "a cancelled job that returns has lost its result")
        },
        EngineConformance("the series muster_jobs_total and muster_job_failures_total have the engine's name") {
            subject in
            try await subject.run {}
            try? await subject.run { throw Deliberate() }
            try expect(
                subject.value("muster_jobs_total") == 2, "two jobs are counted otherwise: is the ledger the engine's?")
            try expect(subject.value("muster_job_failures_total") == 1, "a failure is not counted")
            for state in ["queued", "running", "stopping"] {
                try expect(
                    subject.value("muster_worker_jobs", state: state) == 0, "jobs that are over count as \(state)")
            }
        },
        EngineConformance("a job that is cancelled before its start does not run, or has run") { subject in
            for _ in 0..<50 {
                let ran = Locked(false)
                let job = try subject.engine.spawn(name: "cancelled") { ran.withLock { $0 = true } }
                job.cancel()
                switch try await job.wait() {
                case .cancelled: try expect(!ran.withLock { $0 }, "the body of a job that never started has run")
                case .finished: try expect(ran.withLock { $0 }, "a job has finished that has not run")
                case .failed(let error): throw Unmet(text: "a cancelled job has failed: \(error)")
                }
            }
            try expect(subject.engine.census.jobs == 0, "jobs that are over are counted")
        },
        EngineConformance("cancellation wakes a job, and counts by how the body ends") { subject in
            let engine = subject.engine
            let areRunning = Countdown(3)
            @Sendable func sleep() async throws {
                areRunning.report()
                try await engine.sleep(for: .seconds(3600))
            }
            let cancelled = try engine.spawn(name: "cancelled") { try await sleep() }
            let finished = try engine.spawn(name: "finished") { try? await sleep() }
            let failed = try engine.spawn(name: "failed") {
                do { try await sleep() } catch { throw Deliberate() }
            }
            try await areRunning.wait()
            try expect(engine.census.running == 3, "jobs that sleep do not count as running")
            for job in [cancelled, finished, failed] {
                job.cancel()
                job.cancel()
            }
            guard case .cancelled = try await cancelled.wait() else {
                throw Unmet(text: "a job that ends with CancellationError was not cancelled")
            }
            guard case .finished = try await finished.wait() else {
                throw Unmet(text: "a cancelled job that returns has not finished")
            }
            try expect(try await failed.wait().error is Deliberate, "a cancelled job's own error is lost")
            try expect(engine.census.jobs == 0, "jobs that are over are counted")
            finished.cancel()
            guard case .finished = finished.outcome else {
                throw Unmet(text: "a cancellation after the end has changed the outcome")
            }
        },
        EngineConformance("links are called once each, before and after the end, on the thread of the end") { subject in
            let calls = Locked<[String]>([])
            let threads = Locked<[Int32]>([])
            let mayEnd = Completion<Void>()
            let job = try subject.engine.spawn(name: "linked") {
                try await mayEnd.wait()
                threads.withLock { $0.append(NativeThread.currentIdentifier) }
            }
            job.link { outcome in
                calls.withLock { $0.append("before \(outcome)") }
                threads.withLock { $0.append(NativeThread.currentIdentifier) }
            }
            mayEnd.complete(with: ())
            try await job.wait()
            job.link { outcome in calls.withLock { $0.append("after \(outcome)") } }
            let seen = calls.withLock { $0 }
            try expect(seen == ["before finished", "after finished"], "the links were called as \(seen)")
            let ids = threads.withLock { $0 }
            try expect(ids.count == 2 && ids[0] == ids[1], "a link was called on another thread than the job ended on")
        },
        EngineConformance("any number of tasks may wait for a job, with and without a deadline") { subject in
            let mayEnd = Completion<Void>()
            let job = try subject.engine.spawn(name: "awaited") { try await mayEnd.wait() }
            try await expect(TimeLimitExceeded.self, "a wait goes on beyond its deadline") {
                try await job.wait(until: .now.advanced(by: .milliseconds(1)))
            }
            let impatient = Task { try await job.wait() }
            impatient.cancel()
            try await expect(CancellationError.self, "a wait is not cancelled") { try await impatient.value }
            let waiting = (0..<100).map { _ in Task { try await job.wait() } }
            let jobs = try (0..<10).map { number in
                try subject.engine.spawn(name: "waiter \(number)") { try await job.wait(until: .distantFuture) }
            }
            mayEnd.complete(with: ())
            for task in waiting { _ = try await task.value }
            for job in jobs { try expect(try await job.wait().error == nil, "a job cannot wait for another") }
        },
        EngineConformance("when a wait is over the job is in no count any more, and has given its place back") {
            subject in
            let engine = subject.engine
            for number in 0..<300 {
                try await subject.run { if number % 3 == 0 { await engine.yield() } }
                try expect(engine.census.jobs == 0, "a job that was waited for is still counted")
            }
            // No engine needs more threads than jobs and processors.
            let threads = engine.nativeThreads
            try expect(threads <= 100, "300 jobs, one after the other, have left \(threads) threads")
        },
        EngineConformance("the counts of jobs add up at every moment") { subject in
            let engine = subject.engine
            let total = 600
            let wrong = Locked<String?>(nil)
            let spawned = Locked<[Job]>([])
            let isOver = Completion<Void>()
            defer { isOver.complete(with: ()) }
            let observer = Task.detached {
                while isOver.value == nil {
                    let census = engine.census
                    if min(census.queued, census.running, census.stopping) < 0 || census.jobs > total {
                        wrong.withLock { $0 = "\(census)" }
                    }
                    await Task.yield()
                }
            }
            let canceller = Task.detached {
                while isOver.value == nil {
                    spawned.withLock { $0.randomElement() }?.cancel()
                    await Task.yield()
                }
            }
            for number in 0..<total {
                // An engine may have a limit on jobs.
                if number % 200 == 199 { for job in spawned.withLock({ $0 }) { try await job.wait() } }
                let job = try engine.spawn(name: "short") {
                    await engine.yield()
                    if number % 7 == 0 { try await engine.sleep(for: .microseconds(50)) }
                }
                spawned.withLock { $0.append(job) }
            }
            for job in spawned.withLock({ $0 }) { try await job.wait() }
            isOver.complete(with: ())
            await observer.value
            await canceller.value
            let counts = wrong.withLock { $0 }
            try expect(counts == nil, "the counts were wrong: \(counts ?? "")")
            try expect(engine.census.jobs == 0 && engine.ledger.jobs.isEmpty, "jobs that are over are counted")
            try expect(subject.value("muster_jobs_total") == Double(total), "\(total) jobs are counted otherwise")
        },
        EngineConformance("a second engine takes nothing from the first one's figures") { subject in
            let begun = Countdown()
            let job = try subject.engine.spawn(name: "running") {
                begun.report()
                try await subject.engine.sleep(for: .seconds(3600))
            }
            try await begun.wait()
            let second = try subject.make(subject.metrics)
            let running = subject.value("muster_worker_jobs", state: "running")
            try await second.shutDown()
            try expect(running == 1, "with a second engine, \(running ?? -1) jobs run instead of 1")
            job.cancel()
            try await job.wait()
            try expect(subject.value("muster_worker_jobs", state: "running") == 0, "a job that is over runs")
        },
    ]

    static let shutdownChecks = [
        EngineConformance("an engine that is shut down ends its jobs, takes no more and gives its threads back") {
            subject in
            let engine = subject.engine
            let areRunning = Countdown(20)
            let jobs = try (0..<20).map { number in
                try engine.spawn(name: "job \(number)") {
                    areRunning.report()
                    try await engine.sleep(for: .seconds(3600))
                }
            }
            try await areRunning.wait()
            try await engine.shutDown()
            for job in jobs {
                guard case .cancelled = job.outcome else { throw Unmet(text: "a job outlives the engine") }
            }
            try await expect(EngineError.self, "an engine that is shut down takes a job") {
                try engine.spawn(name: "late") {}
            }
            try await engine.shutDown()
            try await settle("an engine that is shut down holds \(engine.nativeThreads) threads") {
                engine.nativeThreads == 0
            }
            try expect(engine.census == Census(), "an engine that is shut down has jobs")
        },
        EngineConformance("an engine that was never used is shut down too") { subject in
            try expect(subject.engine.nativeThreads == 0, "an engine without a job has threads")
            try await subject.engine.shutDown()
            try expect(subject.engine.nativeThreads == 0, "an engine that is shut down has threads")
        },
        EngineConformance("a job that does not end is not waited for beyond the deadline") { subject in
            let engine = subject.engine
            let (begun, mayEnd) = (Countdown(), Countdown())
            let job = try engine.spawn(name: "stubborn") {
                begun.report()
                await Task { try? await mayEnd.wait() }.value
            }
            try await begun.wait()
            try await expect(TimeLimitExceeded.self, "the shutdown goes on beyond its deadline") {
                try await engine.shutDown(until: .now.advanced(by: .milliseconds(2)))
            }
            try expect(job.state == .stopping, "a job that ignores its cancellation is not stopping")
            mayEnd.report()
            try await engine.shutDown()
            guard case .finished = job.outcome else { throw Unmet(text: "the shutdown did not wait for a job") }
            try await settle("an engine that is shut down holds \(engine.nativeThreads) threads") {
                engine.nativeThreads == 0
            }
        },
        EngineConformance("jobs that are spawned while the engine shuts down run or are refused") { subject in
            for _ in 0..<20 {
                let engine = try subject.make(.forTesting())
                let taken = Locked<[Job]>([])
                let spawner = Task.detached {
                    while true {
                        do throws(EngineError) {
                            let job = try engine.spawn(name: "racing") { await engine.yield() }
                            taken.withLock { $0.append(job) }
                        } catch {
                            return
                        }
                        await Task.yield()
                    }
                }
                for _ in 0..<5 { await Task.yield() }
                try await engine.shutDown()
                await spawner.value
                let jobs = taken.withLock { $0 }
                try expect(jobs.allSatisfy { $0.outcome != nil }, "a job that was taken is not over")
                try expect(engine.census.jobs == 0, "jobs that are over are counted")
            }
        },
    ]
}
