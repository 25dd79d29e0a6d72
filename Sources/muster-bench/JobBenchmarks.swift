// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Muster
import MusterExecution
import MusterLock
import MusterPlatform
import Synchronization

extension Benchmark {
    static func jobSwitches(_ effort: Effort) throws -> [Figure] {
        let backend = try Backends.make(.cooperative)
        defer { try? Backends.shutDown(backend) }
        let jobs = 100
        let turns = 100
        let perSwitch = 1 / Double(jobs * turns)
        let times = try Rounds.run(
            effort(101, quick: 31),
            [
                { Double(try takeTurns(on: backend.engine, jobs: jobs, turns: turns)) * perSwitch },
                { Double(try checked(cmusterbench_context_switches(jobs, turns))) * perSwitch },
                { Double(try checked(cmusterbench_queued_calls(jobs, turns))) * perSwitch },
            ])
        return [
            Figure(
                "from job to job of \(jobs)", in: .nanoseconds, times[0], against: ("swapcontext in C", times[1]),
                limit: .ratioAtMost(1.5)),
            Figure(
                "from job to job, again", in: .nanoseconds, times[0],
                against: ("call through a queue in C", times[2])),
        ]
    }

    private static func takeTurns(on engine: any ExecutionEngine, jobs: Int, turns: Int) throws -> Int64 {
        try onHub(of: engine) {
            let start = cmusterbench_now()
            var spawned: [Job] = []
            for _ in 0..<jobs {
                spawned.append(
                    try engine.spawn(name: "turns") {
                        for _ in 0..<turns { await engine.yield() }
                    })
            }
            for job in spawned { try await job.wait() }
            return cmusterbench_now() - start
        }
    }

    static func jobSpawns(_ effort: Effort) throws -> [Figure] {
        let backend = try Backends.make(.cooperative)
        defer { try? Backends.shutDown(backend) }
        let threads = try Backends.make(.threading)
        defer { try? Backends.shutDown(threads) }
        let count = 5000
        let threadCount = 50
        let times = try Rounds.run(
            effort(51, quick: 15),
            [
                { Double(try spawnAll(on: backend.engine, count: count)) / Double(count) },
                { Double(try spawnOneByOne(on: threads.engine, count: threadCount)) / Double(threadCount) },
                { Double(try checked(cmusterbench_threads_in_turn(threadCount))) / Double(threadCount) },
            ])
        let reference = (name: "pthread_create and join", values: times[2])
        return [
            Figure("on the hub, to its end", in: .nanoseconds, times[0], against: reference),
            Figure("on a thread used again, and back", in: .nanoseconds, times[1], against: reference),
        ]
    }

    private static func spawnAll(on engine: any ExecutionEngine, count: Int) throws -> Int64 {
        try onHub(of: engine) {
            let start = cmusterbench_now()
            for _ in 0..<count / 100 {
                var last: Job?
                for _ in 0..<100 { last = try engine.spawn(name: "nothing") {} }
                // They run in the order in which they were spawned.
                try await last?.wait()
            }
            return cmusterbench_now() - start
        }
    }

    private static func spawnOneByOne(on engine: any ExecutionEngine, count: Int) throws -> Int64 {
        let latch = Latch()
        let start = cmusterbench_now()
        for _ in 0..<count {
            let job = try engine.spawn(name: "nothing") {}
            job.link { _ in latch.open() }
            latch.wait()
        }
        return cmusterbench_now() - start
    }

    static func groupThreads(_ effort: Effort) throws -> [Figure] {
        let backend = try Backends.make(.cooperative)
        defer { try? Backends.shutDown(backend) }
        let count = 5000
        let hasGo = GoReference.isBuilt
        var contenders: [() throws -> Double] = [
            { Double(try addThreads(to: backend, count: count)) / Double(count) },
            { Double(try checked(cmusterbench_threads_in_turn(50))) / 50 },
            { Double(try submitTasks(to: backend, count: count)) / Double(count) },
            { Double(try runTasks(on: backend.engine, count: count)) / Double(count) },
        ]
        if hasGo { contenders.append { try GoReference.run("goroutines", "\(count)", "5")[0] } }
        let times = try Rounds.run(effort(51, quick: 15), contenders)
        let name = "tryAddThread, to the end of all \(count), cooperative"
        let figure = Figure(
            name, in: .nanoseconds, times[0], against: ("pthread_create and join", times[1]),
            note: hasGo ? nil : GoReference.missing)
        let pool = Figure(
            "submit to a work pool of 16, to the end of all \(count), cooperative", in: .nanoseconds, times[2],
            against: ("pthread_create and join", times[1]))
        let bare = Figure(
            "\(name), again", in: .nanoseconds, times[0], against: ("a bare Swift task on the same loop", times[3]))
        guard hasGo else { return [figure, bare, pool] }
        return [
            figure, bare, pool,
            Figure(
                "\(name), again", in: .nanoseconds, times[0], against: ("a goroutine", times[4]),
                limit: .ratioAtMost(1.5)),
        ]
    }

    private static func submitTasks(to backend: Backend, count: Int) throws -> Int64 {
        let pool = WorkPool(name: "bench", workers: 16...16, backend: backend)
        return try onHub(of: backend.engine) {
            let start = cmusterbench_now()
            for _ in 0..<count { try pool.trySubmit {} }
            try await pool.shutDown()
            return cmusterbench_now() - start
        }
    }

    /// What Swift itself needs for as much: a task with a name, on the engine's loop, that does nothing.
    private static func runTasks(on engine: any ExecutionEngine, count: Int) throws -> Int64 {
        try onHub(of: engine) {
            let executor = try engine.placeJob(named: "nothing").executor
            let start = cmusterbench_now()
            for _ in 1..<count { Task(name: "nothing", executorPreference: executor) {} }
            // They run in the order in which they were made.
            await Task(name: "nothing", executorPreference: executor) {}.value
            return cmusterbench_now() - start
        }
    }

    private static func addThreads(to backend: Backend, count: Int) throws -> Int64 {
        let group = ThreadGroup(name: "bench", capacity: 2 * count, backend: backend)
        return try onHub(of: backend.engine) {
            let start = cmusterbench_now()
            for _ in 0..<count { try group.tryAddThread(name: "nothing") {} }
            try await group.wait()
            return cmusterbench_now() - start
        }
    }

    static func manyJobs(_ effort: Effort) throws -> [Figure] {
        let count = effort(100_000, quick: 20_000)
        let threads = 1000
        var starts: [Double] = []
        var ends: [Double] = []
        var sizes: [Double] = []
        var references: [Double] = []
        for _ in 0..<effort(3, quick: 1) {
            let backend = try Backends.make(.cooperative)
            defer { try? Backends.shutDown(backend) }
            ResidentMemory.trim()
            let (start, end, bytes) = try suspendMany(on: backend.engine, count: count)
            starts.append(Double(start) / Double(count))
            ends.append(Double(end) / Double(count))
            sizes.append(Double(bytes) / Double(count))
            let before = cmusterbench_process_time()
            _ = try checked(cmusterbench_threads_in_turn(threads))
            references.append(Double(cmusterbench_process_time() - before) / Double(threads))
        }
        let reference = (name: "pthread_create and join, processor time", values: references)
        return [
            Figure("processor time to suspend, of \(count)", in: .nanoseconds, starts, against: reference),
            Figure("processor time to resume and end, of \(count)", in: .nanoseconds, ends, against: reference),
            // What was freed by the first round may be used again by the next.
            Figure("resident memory of one", in: .bytes, [sizes.max() ?? 0]),
        ]
    }

    private static func suspendMany(
        on engine: any ExecutionEngine, count: Int
    ) throws -> (start: Int64, end: Int64, bytes: Int) {
        let before = ResidentMemory.bytes()
        let gate = Completion<Void>()
        return try onHub(of: engine) {
            // Processor time, as it takes too long for a neighbour never to come in between.
            let start = cmusterbench_process_time()
            var last: Job?
            for _ in 0..<count {
                last = try engine.spawn(name: "waits") { try await gate.wait() }
            }
            // Behind all of them, so that they are all suspended.
            let suspended = try engine.spawn(name: "behind") {}
            try await suspended.wait()
            let took = cmusterbench_process_time() - start
            let bytes = ResidentMemory.bytes() - before
            let resume = cmusterbench_process_time()
            gate.complete(with: ())
            try await last?.wait()
            while engine.census.jobs > 1 { await engine.yield() }
            return (took, cmusterbench_process_time() - resume, bytes)
        }
    }

    static func manyThreads(_ effort: Effort) throws -> [Figure] {
        let count = effort(2000, quick: 500)
        let stackSize = EngineConfiguration().threadStackSize
        let rounds = try Rounds.run(
            effort(7, quick: 3),
            [
                { try holdThreads(count: count) },
                { try holdBareThreads(count: count, stackSize: stackSize) },
            ])
        return [
            Figure(
                "start, wait and end, of \(count)", in: .nanoseconds, rounds[0].map(\.time),
                against: ("pthreads", rounds[1].map(\.time))),
            Figure(
                "resident memory of one", in: .bytes, rounds[0].map(\.bytes),
                against: ("pthreads", rounds[1].map(\.bytes))),
        ]
    }

    private static func holdThreads(count: Int) throws -> (time: Double, bytes: Double) {
        let threads = ThreadCount.now
        let backend = try Backends.make(.threading)
        defer {
            try? Backends.shutDown(backend)
            // Or the reference would begin with what these have not given back yet.
            ThreadCount.wait(untilAtMost: threads)
        }
        let engine = backend.engine
        ResidentMemory.trim()
        let before = ResidentMemory.bytes()
        let gate = Completion<Void>()
        let (started, ended) = (Countdown(count), Countdown(count))
        var start = cmusterbench_now()
        for _ in 0..<count {
            let job = try engine.spawn(name: "waits") {
                started.count()
                try await gate.wait()
            }
            job.link { _ in ended.count() }
        }
        started.wait()
        var took = cmusterbench_now() - start
        let bytes = ResidentMemory.bytes() - before
        start = cmusterbench_now()
        gate.complete(with: ())
        ended.wait()
        took += cmusterbench_now() - start
        return (Double(took) / Double(count), Double(bytes) / Double(count))
    }

    private static func holdBareThreads(count: Int, stackSize: Int) throws -> (time: Double, bytes: Double) {
        ResidentMemory.trim()
        let before = ResidentMemory.bytes()
        var bytes = 0
        let took = withUnsafeMutablePointer(to: &bytes) { bytes in
            cmusterbench_threads_at_once(
                count, stackSize,
                { $0?.assumingMemoryBound(to: Int.self).pointee = ResidentMemory.bytes() }, bytes)
        }
        return (Double(try checked(took)) / Double(count), Double(bytes - before) / Double(count))
    }

    /// Runs work as a job, so that what it spawns is handed from the hub's thread to itself.
    private static func onHub<Value: Sendable>(
        of engine: any ExecutionEngine, _ work: @escaping @Sendable () async throws -> Value
    ) throws -> Value {
        let result = Completion<Result<Value, any Error>>()
        try engine.spawn(name: "bench") {
            do { result.complete(with: .success(try await work())) } catch { result.complete(with: .failure(error)) }
        }
        return try Blocking.run { try await result.wait().get() }
    }

    static func checked(_ nanoseconds: Int64) throws -> Int64 {
        guard nanoseconds >= 0 else { throw BenchmarkError("the reference got no memory or no thread from the system") }
        return nanoseconds
    }
}

/// Runs several contenders in turns, so that whatever the machine does meanwhile falls on all of them.
enum Rounds {
    /// Runs each contender once a round, in an order that changes from round to round.
    ///
    /// - Returns: For each contender its measurements, round by round.
    static func run<Measurement>(_ count: Int, _ contenders: [() throws -> Measurement]) throws -> [[Measurement]] {
        var results: [[Measurement]] = Array(repeating: [], count: contenders.count)
        for round in 0..<count {
            let order = contenders.indices.map { ($0 + round) % contenders.count }
            for contender in round.isMultiple(of: 2) ? order : order.reversed() {
                results[contender].append(try contenders[contender]())
            }
        }
        return results
    }
}

/// Work that the main thread waits for.
enum Blocking {
    /// Runs asynchronous work and waits for it.
    static func run<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
        let result = Locked<Result<Value, any Error>?>(nil)
        let latch = Latch()
        Task.detached {
            let value: Result<Value, any Error>
            do { value = .success(try await body()) } catch { value = .failure(error) }
            result.withLock { $0 = value }
            latch.open()
        }
        latch.wait()
        guard let value = result.withLock({ $0 }) else { throw BenchmarkError("a task has left no result") }
        return try value.get()
    }

    /// Runs work on a fresh thread and waits for it.
    static func onThread<Value: Sendable>(_ body: @escaping @Sendable () -> Value) throws -> Value {
        let wait = try startThread(body)
        return try wait()
    }

    /// Starts work on a fresh thread.
    ///
    /// - Returns: Waits for the work's end and returns its result; to be called once.
    static func startThread<Value: Sendable>(
        _ body: @escaping @Sendable () -> Value
    ) throws -> () throws -> Value {
        let result = Locked<Value?>(nil)
        let latch = Latch()
        try NativeThread.start(name: "reference") {
            let value = body()
            result.withLock { $0 = value }
            latch.open()
        }
        return {
            latch.wait()
            guard let value = result.withLock({ $0 }) else { throw BenchmarkError("a thread has left no result") }
            return value
        }
    }
}
