// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterExecution
import MusterLock
import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5))) struct CooperativeEngineTests {
    @Test func `no two jobs run at the same time`() async throws {
        try await withEngine(.cooperative) { engine in
            let inside = Counter()
            let meetings = Counter()
            let threads = Locked<Set<Int32>>([])
            let jobs = try (0..<50).map { number in
                try engine.spawn(name: "job \(number)") {
                    for _ in 0..<20 {
                        if inside.add() != 1 { meetings.add() }
                        threads.withLock { _ = $0.insert(NativeThread.currentIdentifier) }
                        inside.add(-1)
                        await Task {}.value
                    }
                }
            }
            for job in jobs { try await job.wait() }
            let used = threads.withLock { $0.count }
            #expect(meetings.value == 0 && used == 1)
            #expect(engine.nativeThreads == 1)
        }
    }

    @Test func `the hub may be run by a thread that claims it`() async throws {
        let engine = try CooperativeEngine(metrics: makeRegistry())
        #expect(engine.hub.claim())
        let job = try engine.spawn(name: "claimed") {
            #expect(engine.hub.isCurrent)
            engine.hub.stop()
        }
        try await onThread { try engine.hub.run() }
        #expect(job.outcome != nil)
        try await engine.shutDown()
    }

    @Test func `shows for how long a job has kept the hub`() async throws {
        try await withEngine(.cooperative) { engine in
            #expect(engine.stalledTime == .zero)
            let isHeld = Latch()
            let gate = Gate()
            let job = try engine.spawn(name: "stalling") {
                isHeld.countDown()
                gate.pass()
            }
            await isHeld.wait()
            let first = engine.stalledTime
            #expect(engine.stalledTime > first || first > .zero)
            gate.open()
            try await job.wait()
            try await until { engine.stalledTime == .zero }
        }
    }

    @Test func `the hub's turns and steps are counted`() async throws {
        let registry = try makeRegistry()
        try await withEngine(.cooperative, registry: registry) { engine in
            let job = try engine.spawn(name: "sleeping") {
                for _ in 0..<9 { try await engine.sleep(until: MonotonicInstant(nanoseconds: 0)) }
            }
            try await job.wait()
        }
        let steps = try registry.counterFamily(
            "muster_hub_job_steps_total", help: "Steps of jobs, from one await to the next, that the hub ran.",
            labelNames: ["backend"])
        try await until { steps.labels("cooperative").value >= 10 }
    }

    // MARK: Idleness

    private func switches(of thread: Int32) throws -> Int {
        let descriptor = OwnedDescriptor(open("/proc/self/task/\(thread)/status", O_RDONLY | O_CLOEXEC))
        var buffer = [UInt8](repeating: 0, count: 8192)
        let count = read(descriptor.rawValue, &buffer, buffer.count)
        let text = String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
        let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("voluntary_ctxt_switches") })
        return try #require(line.split(separator: "\t").last.flatMap { Int($0) })
    }

    private func isAsleep(_ thread: Int32) throws -> Bool {
        let descriptor = OwnedDescriptor(open("/proc/self/task/\(thread)/stat", O_RDONLY | O_CLOEXEC))
        var buffer = [UInt8](repeating: 0, count: 1024)
        let count = read(descriptor.rawValue, &buffer, buffer.count)
        let text = String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
        return text.split(separator: ")").last?.hasPrefix(" S") == true
    }

    @Test(arguments: [false, true])
    func `an idle hub does not wake while others work`(hasDescriptor: Bool) async throws {
        let pair = try SocketPair()
        try await withEngine(.cooperative) { engine in
            let thread = Locked<Int32>(0)
            let sleeping = try engine.spawn(name: "sleeping") {
                thread.withLock { $0 = NativeThread.currentIdentifier }
                if hasDescriptor { try await engine.ready(pair.near.rawValue, for: .readable) }
                try await engine.sleep(for: .seconds(3600))
            }
            try await until { thread.withLock { $0 } != 0 }
            let hub = thread.withLock { $0 }
            try await until { engine.stalledTime == .zero && (try? isAsleep(hub)) == true }
            let before = try switches(of: hub)
            // Work elsewhere: threads, timers, tasks.
            for _ in 0..<200 {
                _ = try await onThread { NativeThread.currentIdentifier }
                try await SystemClock().sleep(for: .microseconds(50))
                await Task.detached {}.value
            }
            // One more when it was on its way to sleep at first; a hub that looked after something by itself would
            // have woken hundreds of times.
            #expect(try switches(of: hub) <= before + 1)
            sleeping.cancel()
        }
    }

    // MARK: The pool for blocking work

    @Test func `blocking work is bounded and takes its turn in the order in which it came`() async throws {
        let registry = try makeRegistry()
        let queued = try registry.gaugeFamily(
            "muster_blocking_pool_queue_length", help: "Blocking tasks that wait for a thread.",
            labelNames: ["backend"]
        ).labels("cooperative")
        try await withEngine(
            .cooperative, EngineConfiguration(blockingThreadLimit: 2, threadKeepAlive: .seconds(3600)),
            registry: registry
        ) { engine in
            let gate = Gate()
            let isFull = Latch(2)
            let inside = Counter()
            let most = Locked(0)
            let order = Locked<[Int]>([])
            let jobs = try (0..<20).map { number in
                try engine.spawn(name: "blocking \(number)") {
                    try await engine.runBlocking {
                        let now = inside.add()
                        most.withLock { $0 = max($0, now) }
                        order.withLock { $0.append(number) }
                        if number < 2 {
                            isFull.countDown()
                            gate.pass()
                        }
                        inside.add(-1)
                    }
                }
            }
            await isFull.wait()
            try await until { queued.value == 18 }
            #expect(engine.nativeThreads == 3)
            // One that waits its turn is taken out at once when it is cancelled.
            jobs[10].cancel()
            guard case .cancelled = try await jobs[10].wait() else {
                Issue.record("it was not cancelled")
                return
            }
            #expect(queued.value == 17)
            gate.open()
            // One thread serves the whole queue while the other is still held up.
            for job in jobs[2...] { try await job.wait() }
            gate.open()
            for job in jobs { try await job.wait() }
            let (limit, seen) = (most.withLock { $0 }, order.withLock { $0 })
            #expect(limit == 2)
            #expect(Set(seen[..<2]) == [0, 1])
            #expect(Array(seen[2...]) == (2..<20).filter { $0 != 10 })
            #expect(queued.value == 0)
        }
    }

    @Test(arguments: [1, 3])
    func `a place that is just being given back is no reason to refuse`(limit: Int) async throws {
        let registry = try makeRegistry()
        let configuration = EngineConfiguration(blockingThreadLimit: limit, threadKeepAlive: .microseconds(20))
        try await withEngine(.cooperative, configuration, registry: registry) { engine in
            try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 0..<4 {
                    group.addTask {
                        for _ in 0..<300 {
                            try await engine.runBlocking {}
                            spin(number)
                        }
                        return 300
                    }
                }
                let done = try await group.reduce(0, +)
                #expect(done == 1200)
            }
            let busy = try registry.gaugeFamily(
                "muster_blocking_pool_threads_busy", help: "Threads of the pool for blocking work that run a task.",
                labelNames: ["backend"]
            ).labels("cooperative")
            try await until { busy.value == 0 }
        }
    }

    @Test func `cancellation may meet blocking work at any moment`() async throws {
        let registry = try makeRegistry()
        let configuration = EngineConfiguration(blockingThreadLimit: 1)
        try await withEngine(.cooperative, configuration, registry: registry) { engine in
            var generator = SplitMix64(seed: 8)
            let ran = Counter()
            var finished = 0
            for _ in 0..<500 {
                let tasks = (0..<3).map { _ in Task { try await engine.runBlocking { _ = ran.add() } } }
                spin(Int.random(in: 0..<20, using: &generator))
                for task in tasks { task.cancel() }
                for task in tasks {
                    if case .success = await task.result { finished += 1 }
                }
            }
            #expect(ran.value == finished, "what was refused did not run, and the other way round")
        }
    }

    @Test func `blocking work that no thread can be had for is refused, all of it`() async throws {
        let registry = try makeRegistry()
        let configuration = EngineConfiguration(blockingThreadLimit: 2, threadStackSize: 1 << 50)
        try await withEngine(.cooperative, configuration, registry: registry) { engine in
            let tasks = (0..<50).map { _ in Task { try await engine.runBlocking {} } }
            for task in tasks {
                let error = await #expect(throws: EngineError.self) { try await task.value }
                guard case .threadUnavailable = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
            }
            let gauges = try ["threads_busy", "queue_length", "threads"].map { name in
                try registry.gaugeFamily(
                    "muster_blocking_pool_\(name)",
                    help: [
                        "threads_busy": "Threads of the pool for blocking work that run a task.",
                        "queue_length": "Blocking tasks that wait for a thread.",
                        "threads": "Native threads of the pool for blocking work.",
                    ][name] ?? "", labelNames: ["backend"]
                ).labels("cooperative").value
            }
            #expect(gauges == [0, 0, 0])
        }
    }

    // MARK: Scale

    /// The processor time that the calling thread has used, in nanoseconds: what others do meanwhile does not count.
    private static func processorTime() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    /// Suspends jobs all at once, then lets them end.
    ///
    /// - Returns: The processor time that took.
    private func crowd(_ count: Int) async throws -> Int {
        try await withEngine(.cooperative) { engine in
            let cost = Counter()
            func note(_ sign: Int) async throws {
                try await engine.spawn(name: "clock") { cost.add(sign * Self.processorTime()) }.wait()
            }
            @Sendable func measured(_ body: @escaping @Sendable () throws -> Void) async throws {
                try await onThread {
                    let start = Self.processorTime()
                    try body()
                    cost.add(Self.processorTime() - start)
                }
            }
            let areSuspended = Latch(count)
            let mayEnd = Completion<Void>()
            let isOver = Latch(count)
            try await note(-1)
            try await measured {
                for _ in 0..<count {
                    try engine.spawn(name: "one of many") {
                        areSuspended.countDown()
                        try await mayEnd.wait()
                        isOver.countDown()
                    }
                }
            }
            await areSuspended.wait()
            #expect(engine.census.running == count)
            try await measured { mayEnd.complete(with: ()) }
            await isOver.wait()
            try await until { engine.census.jobs == 0 }
            try await note(1)
            return cost.value
        }
    }

    @Test func `a hundred thousand jobs at once cost five times what twenty thousand do`() async throws {
        _ = try await crowd(Scale.of(5000))
        let few = try await crowd(Scale.of(20_000))
        let many = try await crowd(Scale.of(100_000))
        // Quadratic behaviour would make it twenty-five times as much.
        #expect(many < few * 12)
    }

    @Test func `many sleeping jobs are cancelled at once`() async throws {
        try await withEngine(.cooperative) { engine in
            let count = Scale.of(20_000)
            let isRunning = Latch(count)
            for _ in 0..<count {
                try engine.spawn(name: "sleeping") {
                    isRunning.countDown()
                    try await engine.sleep(for: .seconds(3600))
                }
            }
            await isRunning.wait()
            try await engine.shutDown()
            #expect(engine.census.jobs == 0)
        }
    }
}
