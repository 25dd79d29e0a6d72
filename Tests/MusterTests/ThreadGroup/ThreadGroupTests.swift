// SPDX-License-Identifier: Apache-2.0

import Logging
import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

@Suite("Thread groups", .timeLimit(.minutes(5)))
struct ThreadGroupTests {
    // MARK: Threads

    @Test("A thread that has ended has left the group", arguments: bothBackends)
    func leaves(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let gate = Completion<Void>()
            let job = try await group.addThread(name: "one") { try await gate.wait() }
            #expect(group.threads.map(\.id) == [job.id])
            gate.complete(with: ())
            try await group.wait()
            #expect(group.threads.isEmpty)
        }
    }

    @Test("A thread that fails has left too; its error is logged, counted and in its handle", arguments: bothBackends)
    func fails(type: BackendType) async throws {
        let log = CapturedLog()
        try await TestBackend.with(type, logger: log.logger) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let job = try await group.addThread(name: "broken") { throw TestFailure() }
            try await group.wait()
            #expect(group.threads.isEmpty)
            #expect(job.outcome?.error as? TestFailure == TestFailure())
            #expect(log.messages(.error) == ["thread failed"])
            #expect(log.metadata("group", of: "thread failed") == ["group"])
            #expect(log.metadata("thread", of: "thread failed") == ["broken"])
            #expect(log.metadata("error", of: "thread failed") == ["deliberate"])
            #expect(backend.metrics.value("muster_threadgroup_task_failures_total", ["group": "group"]) == 1)
        }
    }

    @Test("Threads are kept track of until each has ended", arguments: bothBackends)
    func three(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let gates = (0..<3).map { _ in Completion<Void>() }
            for (index, gate) in gates.enumerated() {
                try await group.addThread(name: "thread-\(index)") { try await gate.wait() }
            }
            #expect(group.threads.map(\.name) == ["thread-0", "thread-1", "thread-2"])
            let metrics = backend.metrics
            #expect(metrics.value("muster_threadgroup_threads", ["group": "group"]) == 3)
            #expect(metrics.value("muster_threadgroup_threads_limit", ["group": "group"]) == 1000)
            for gate in gates { gate.complete(with: ()) }
            try await group.wait()
            #expect(group.threads.isEmpty)
            #expect(metrics.value("muster_threadgroup_threads", ["group": "group"]) == 0)
            #expect(metrics.value("muster_threadgroup_tasks_total", ["group": "group"]) == 3)
        }
    }

    @Test("Many threads added at once from many tasks are all counted and all leave", arguments: bothBackends)
    func many(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "group", capacity: 16, backend: backend)
            let ran = Recorder<Void>()
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for index in 0..<200 {
                    tasks.addTask { try await group.addThread(name: "thread-\(index)") { ran.append(()) } }
                }
                try await tasks.waitForAll()
            }
            try await group.wait()
            #expect(ran.count == 200)
            #expect(group.threads.isEmpty)
            #expect(backend.metrics.value("muster_threadgroup_tasks_total", ["group": "group"]) == 200)
            #expect(backend.metrics.value("muster_threadgroup_threads", ["group": "group"]) == 0)
            #expect(backend.metrics.value("muster_threadgroup_queue_length", ["group": "group"]) == 0)
        }
    }

    // MARK: Capacity

    @Test("A thread has the result that it returns", arguments: bothBackends)
    func result(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "results", backend: backend)
            let first = try await group.addThread(name: "first") { [1, 2, 3] }
            let second = try group.tryAddThread(name: "second") { "two" }
            #expect(try await first.result() + [4] == [1, 2, 3, 4])
            #expect(try await second.result().uppercased() == "TWO")
            let failing = try await group.addThread(name: "failing") { () -> Int in throw TestFailure() }
            await #expect(throws: TestFailure()) { try await failing.result() }
        }
    }

    @Test("A full group that waits does not advise to wait as if it did not", arguments: bothBackends)
    func fullAdvice(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "small", capacity: 1, whenFull: .wait, backend: backend)
            let gate = Completion<Void>()
            try await group.addThread(name: "first") { try await gate.wait() }
            let error = #expect(throws: ThreadGroupError.self) { try group.tryAddThread(name: "second") {} }
            #expect(
                error?.description == """
                    thread group 'small' is full: all 1 threads are alive. Raise its capacity, or use addThread of a \
                    group with whenFull: .wait, which waits for room
                    """)
            gate.complete(with: ())
            try await group.wait()
        }
    }

    @Test("A full group that rejects says what is full", arguments: bothBackends)
    func reject(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "small", capacity: 1, whenFull: .reject, backend: backend)
            let gate = Completion<Void>()
            try await group.addThread(name: "one") { try await gate.wait() }
            let error = await #expect(throws: ThreadGroupError.self) { try await group.addThread(name: "two") {} }
            #expect(error == .full(group: "small", capacity: 1))
            #expect(error?.description.contains("Raise its capacity") == true)
            #expect(throws: ThreadGroupError.full(group: "small", capacity: 1)) {
                try group.tryAddThread(name: "two") {}
            }
            #expect(backend.metrics.value("muster_threadgroup_rejections_total", ["group": "small"]) == 2)
            gate.complete(with: ())
            try await group.wait()
            try await group.addThread(name: "three") {}
            try await group.wait()
        }
    }

    @Test("A full group that waits lets the next in when one has ended", arguments: bothBackends)
    func waits(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "small", capacity: 1, backend: backend)
            let gate = Completion<Void>()
            let order = Recorder<String>()
            let metrics = backend.metrics
            try await group.addThread(name: "one") {
                try await gate.wait()
                order.append("one")
            }
            let adding = Task { try await group.addThread(name: "two") { order.append("two") } }
            // The gate opens once the second one is in the queue, where it can only get.
            while metrics.value("muster_threadgroup_queue_length", ["group": "small"]) != 1 { await Task.yield() }
            #expect(group.threads.map(\.name) == ["one"])
            gate.complete(with: ())
            _ = try await adding.value
            try await group.wait()
            #expect(order.all == ["one", "two"])
            #expect(metrics.value("muster_threadgroup_task_queue_seconds_count", ["group": "small"]) == 1)
            #expect(metrics.value("muster_threadgroup_queue_length", ["group": "small"]) == 0)
        }
    }

    @Test("Who is cancelled while waiting for room takes none", arguments: bothBackends)
    func cancelledInQueue(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "small", capacity: 1, backend: backend)
            let gate = Completion<Void>()
            try await group.addThread(name: "one") { try await gate.wait() }
            let adding = Task { try await group.addThread(name: "two") { Issue.record("it must not run") } }
            adding.cancel()
            await #expect(throws: CancellationError.self) { try await adding.value }
            gate.complete(with: ())
            try await group.wait()
            try await group.addThread(name: "three") {}
            try await group.wait()
        }
    }

    @Test("All threads of a full group may add to it at once", arguments: bothBackends)
    func fullGroupAdds(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "full", capacity: 4, backend: backend)
            let ready = Recorder<Void>()
            let ran = Recorder<Void>()
            for index in 0..<4 {
                try await group.addThread(name: "parent-\(index)") {
                    ready.append(())
                    try await ready.first(4)
                    try await group.addThread(name: "child-\(index)") { ran.append(()) }
                }
            }
            try await group.wait()
            #expect(ran.count == 4)
            #expect(group.threads.isEmpty)
        }
    }

    @Test("An engine without a thread left gives the room back")
    func noThread() async throws {
        try await TestBackend.with(.threading, configuration: EngineConfiguration(threadLimit: 1)) { backend in
            let group = ThreadGroup(name: "group", capacity: 2, backend: backend)
            let gate = Completion<Void>()
            try await group.addThread(name: "one") { try await gate.wait() }
            for _ in 0..<3 {
                await #expect(throws: EngineError.threadLimitReached(limit: 1)) {
                    try await group.addThread(name: "two") {}
                }
            }
            #expect(throws: EngineError.threadLimitReached(limit: 1)) {
                try group.addTimer(name: "timer", interval: .seconds(1)) {}
            }
            #expect(group.timers.isEmpty)
            gate.complete(with: ())
            try await group.wait()
            #expect(backend.metrics.value("muster_threadgroup_tasks_total", ["group": "group"]) == 1)
        }
    }

    @Test("The limit's gauge counts the groups that are there", arguments: bothBackends)
    func limitGauge(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            /// Uses a group without leaving a job that might hold it.
            func use(_ group: ThreadGroup) {
                #expect(throws: LoopingCallError.self) { try group.addTimer(name: "bad", interval: .zero) {} }
            }
            let kept = ThreadGroup(name: "same", capacity: 5, backend: backend)
            use(kept)
            for _ in 0..<10 { use(ThreadGroup(name: "same", capacity: 7, backend: backend)) }
            #expect(backend.metrics.value("muster_threadgroup_threads_limit", ["group": "same"]) == 5)
            try await kept.wait()
        }
    }

    // MARK: Timers

    @Test("Timers are listed, run, and stay listed until they are taken off", arguments: bothBackends)
    func timers(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let runs = Recorder<String>()
            let fixed = try group.addTimer(name: "fixed", interval: .seconds(1)) { runs.append("fixed") }
            let dynamic = try group.addDynamicTimer(name: "dynamic") {
                runs.append("dynamic")
                return .seconds(1)
            }
            let later = try group.addTimer(name: "later", interval: .seconds(1), initialDelay: .seconds(5)) {
                runs.append("later")
            }
            await clock.sleepers(atLeast: 3)
            #expect(Set(runs.all) == ["fixed", "dynamic"])
            #expect(group.timers.map(\.name) == ["fixed", "dynamic", "later"])
            #expect(group.timers.allSatisfy { $0.isRunning })
            #expect(group.threads.isEmpty)
            #expect(backend.metrics.value("muster_threadgroup_timers", ["group": "group"]) == 3)
            let job = fixed.job
            fixed.stop()
            try await job?.wait()
            #expect(group.timers.map(\.name) == ["fixed", "dynamic", "later"])
            #expect(!fixed.isRunning)
            group.removeTimer(fixed)
            group.removeTimer(fixed)
            #expect(group.timers.map(\.name) == ["dynamic", "later"])
            try await group.stopTimers(wait: true)
            #expect(group.timers.isEmpty)
            #expect(!dynamic.isRunning)
            #expect(!later.isRunning)
            #expect(backend.metrics.value("muster_threadgroup_timers", ["group": "group"]) == 0)
        }
    }

    @Test("Stopping the timers leaves the threads alone, and finishes a run under way", arguments: bothBackends)
    func stopTimers(type: BackendType) async throws {
        try await TestBackend.with(type, clock: ManualClock()) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let gate = Completion<Void>()
            let threadGate = Completion<Void>()
            let began = Recorder<Void>()
            let finished = Recorder<Void>()
            try group.addTimer(name: "busy", interval: .seconds(1)) {
                began.append(())
                try await gate.wait()
                finished.append(())
            }
            try await group.addThread(name: "thread") { try await threadGate.wait() }
            try await began.first(1)
            try await group.stopTimers()
            #expect(group.timers.isEmpty)
            #expect(finished.count == 0)
            gate.complete(with: ())
            try await group.stopTimers(wait: true)
            #expect(finished.count == 1)
            #expect(group.threads.count == 1)
            threadGate.complete(with: ())
            try await group.wait()
        }
    }

    @Test("A failing timer keeps neither stopTimers nor wait from returning", arguments: bothBackends)
    func failingTimer(type: BackendType) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let timer = try group.addTimer(name: "broken", interval: .seconds(1)) { throw TestFailure() }
            try await group.wait()
            try await group.stopTimers(wait: true)
            await #expect(throws: TestFailure()) { try await timer.wait() }
        }
    }

    @Test("A timer with a bad interval is refused and leaves no trace", arguments: bothBackends)
    func badTimer(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            #expect(throws: LoopingCallError.self) { try group.addTimer(name: "bad", interval: .zero) {} }
            #expect(group.timers.isEmpty)
            try await group.wait()
        }
    }

    @Test("Timers that end by themselves do not pile up", arguments: bothBackends)
    func growth(type: BackendType) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let gate = Completion<Void>()
            let running = try group.addTimer(name: "running", interval: .seconds(1)) {
                try await gate.wait()
                throw LoopingCallDone()
            }
            var most = 0
            for _ in 0..<1000 {
                let timer = try group.addTimer(name: "short", interval: .seconds(1)) { throw LoopingCallDone() }
                try await timer.wait()
                most = max(most, group.timers.count)
            }
            #expect(most <= 129)
            #expect(group.timers.first === running)
            gate.complete(with: ())
            try await running.wait()
        }
    }

    // What went through all timers for each took minutes.
    @Test("A group of very many timers takes as long for each as one of a few", .timeLimit(.minutes(5)))
    func manyTimers() async throws {
        try await TestBackend.with(.cooperative) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let timers = try (0..<40_000).map { _ in
                try group.addTimer(name: "one of many", interval: .seconds(3600), initialDelay: .seconds(3600)) {}
            }
            #expect(group.timers.elementsEqual(timers, by: ===))
            for timer in timers.reversed() { group.removeTimer(timer) }
            #expect(group.timers.isEmpty)
            try await group.stop()
        }
    }

    // MARK: None

    @Test("The group of services that have none refuses what is added")
    func none() async throws {
        await #expect(throws: ThreadGroupError.none) { try await ThreadGroup.none.addThread(name: "x") {} }
        #expect(throws: ThreadGroupError.none) { try ThreadGroup.none.tryAddThread(name: "x") {} }
        #expect(throws: ThreadGroupError.none) { try ThreadGroup.none.addTimer(name: "x", interval: .seconds(1)) {} }
        #expect(throws: ThreadGroupError.none) { try ThreadGroup.none.addDynamicTimer(name: "x") { nil } }
        #expect(ThreadGroupError.none.description.contains("declare `let threadGroup"))
        try await ThreadGroup.none.stop(graceful: true)
        try await ThreadGroup.none.wait()
        try await ThreadGroup.none.cancel()
    }
}
