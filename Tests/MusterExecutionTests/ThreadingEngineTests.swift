// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterExecution
import MusterLock
import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct ThreadingEngineTests {
    private func currentName(of thread: Int32) -> String {
        let descriptor = OwnedDescriptor(open("/proc/self/task/\(thread)/comm", O_RDONLY | O_CLOEXEC))
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = read(descriptor.rawValue, &buffer, buffer.count)
        return String(decoding: buffer.prefix(max(0, count - 1)), as: UTF8.self)
    }

    /// Runs a job that does nothing but tell its thread.
    private func thread(of engine: any ExecutionEngine) async throws -> Int32 {
        let thread = Locked<Int32>(0)
        try await engine.spawn(name: "thread") { thread.withLock { $0 = NativeThread.currentIdentifier } }.wait()
        return thread.withLock { $0 }
    }

    @Test func `a job's thread carries its name while the job has it`() async throws {
        try await withEngine(.threading) { engine in
            let mayEnd = Completion<Void>()
            let thread = Locked<Int32>(0)
            let isRunning = Latch()
            let job = try engine.spawn(name: "mail-delivery-of-today") {
                thread.withLock { $0 = NativeThread.currentIdentifier }
                isRunning.countDown()
                try await mayEnd.wait()
            }
            await isRunning.wait()
            let identifier = thread.withLock { $0 }
            #expect(currentName(of: identifier) == "mail-delivery-o")
            mayEnd.complete(with: ())
            try await job.wait()
            #expect(currentName(of: identifier) == "muster-idle")
        }
    }

    @Test func `threads come when they are needed and are used again`() async throws {
        let registry = try makeRegistry()
        let gauge = try registry.gaugeFamily(
            "muster_job_threads", help: "Native threads that run jobs or wait for one.", labelNames: ["backend"]
        ).labels("threading")
        try await withEngine(.threading, registry: registry) { engine in
            #expect(engine.nativeThreads == 0 && gauge.value == 0)
            let first = try await thread(of: engine)
            for _ in 0..<50 {
                let next = try await thread(of: engine)
                #expect(next == first)
            }
            #expect(engine.nativeThreads == 1 && gauge.value == 1)
            let mayEnd = Completion<Void>()
            let isRunning = Latch(5)
            let threads = Locked<Set<Int32>>([])
            let jobs = try (0..<5).map { number in
                try engine.spawn(name: "job \(number)") {
                    threads.withLock { _ = $0.insert(NativeThread.currentIdentifier) }
                    isRunning.countDown()
                    try await mayEnd.wait()
                }
            }
            await isRunning.wait()
            let used = threads.withLock { $0 }
            #expect(used.count == 5 && used.contains(first))
            #expect(engine.nativeThreads == 5 && gauge.value == 5)
            mayEnd.complete(with: ())
            for job in jobs { try await job.wait() }
        }
        try await until { gauge.value == 0 }
    }

    @Test func `jobs may block their threads at the same time`() async throws {
        try await withEngine(.threading) { engine in
            let gate = Gate()
            let areBlocked = Latch(8)
            let jobs = try (0..<8).map { number in
                try engine.spawn(name: "blocked \(number)") {
                    areBlocked.countDown()
                    gate.pass()
                }
            }
            await areBlocked.wait()
            for _ in jobs { gate.open() }
            for job in jobs { try await job.wait() }
            #expect(engine.stalledTime == .zero)
        }
    }

    @Test func `a job keeps its thread however long it waits`() async throws {
        // An idle thread ends at once, so one that is merely waiting must not count as idle.
        let configuration = EngineConfiguration(threadKeepAlive: .microseconds(1))
        try await withEngine(.threading, configuration) { engine in
            let moves = Counter()
            let jobs = try (0..<4).map { number in
                try engine.spawn(name: "waiting \(number)") {
                    let thread = pthread_self()
                    let identifier = NativeThread.currentIdentifier
                    for _ in 0..<200 {
                        await withCheckedContinuation { continuation in
                            Task.detached {
                                spin(20)
                                continuation.resume()
                            }
                        }
                        if pthread_equal(pthread_self(), thread) == 0 || NativeThread.currentIdentifier != identifier {
                            moves.add()
                        }
                    }
                }
            }
            for job in jobs { try await job.wait() }
            #expect(moves.value == 0)
        }
    }

    @Test func `a thread that was reserved stays until a job takes it`() async throws {
        // Without the reserve, it would end at once.
        let configuration = EngineConfiguration(threadLimit: 1, threadKeepAlive: .microseconds(1))
        try await withEngine(.threading, configuration) { engine in
            for _ in 0..<3 { engine.reserveThread() }
            #expect(engine.nativeThreads == 1)
            // An idle one that comes later ends meanwhile.
            try await withEngine(.threading, configuration) { other in
                try await other.spawn(name: "job") {}.wait()
                try await until { other.nativeThreads == 0 }
            }
            #expect(engine.nativeThreads == 1)
            try await engine.spawn(name: "first") { #expect(engine.nativeThreads == 1) }.wait()
            try await until { engine.nativeThreads == 0 }
            try await engine.spawn(name: "second") {}.wait()
        }
        for isUsed in [false, true] {
            let engine = try EngineKind.threading.make(registry: makeRegistry())
            engine.reserveThread()
            if isUsed { try await engine.spawn(name: "job") {}.wait() }
            try await engine.shutDown()
            try await until { engine.nativeThreads == 0 }
            engine.reserveThread()
            try await until { engine.nativeThreads == 0 }
        }
    }

    @Test func `threads without a job end after a while`() async throws {
        let configuration = EngineConfiguration(threadKeepAlive: .milliseconds(1))
        try await withEngine(.threading, configuration) { engine in
            let loop = Locked<EventLoop?>(nil)
            try await engine.spawn(name: "short") { loop.withLock { $0 = EventLoop.current } }.wait()
            try await until { engine.nativeThreads == 0 }
            // What outlives the thread still runs, on a new one.
            let old = try #require(loop.withLock { $0 })
            for _ in 0..<5 {
                let isThere = await Task(executorPreference: old) { old.isCurrent }.value
                #expect(isThere)
                try await until { engine.nativeThreads == 0 }
            }
            try await engine.spawn(name: "again") {}.wait()
        }
    }

    @Test func `no more threads than wanted are kept`() async throws {
        let configuration = EngineConfiguration(idleThreadLimit: 2, threadKeepAlive: .seconds(3600))
        try await withEngine(.threading, configuration) { engine in
            let gate = Gate()
            let areBlocked = Latch(6)
            let jobs = try (0..<6).map { number in
                try engine.spawn(name: "blocked \(number)") {
                    areBlocked.countDown()
                    gate.pass()
                }
            }
            await areBlocked.wait()
            #expect(engine.nativeThreads == 6)
            for _ in jobs { gate.open() }
            for job in jobs { try await job.wait() }
            try await until { engine.nativeThreads == 2 }
        }
    }

    @Test func `a task that outlives its job is served until it is over`() async throws {
        for limit in [0, 8] {
            let configuration = EngineConfiguration(idleThreadLimit: limit)
            try await withEngine(.threading, configuration) { engine in
                let stray = Locked<Task<Bool, any Error>?>(nil)
                let job = try engine.spawn(name: "short") {
                    guard let loop = EventLoop.current else { return }
                    let task = Task(executorPreference: loop) {
                        try await engine.sleep(for: .milliseconds(3))
                        return loop.isCurrent
                    }
                    stray.withLock { $0 = task }
                }
                try await job.wait()
                let task = try #require(stray.withLock { $0 })
                #expect(try await task.value)
            }
        }
    }

    // MARK: Limits

    @Test func `the limit is an error, and a job that is over makes room at once`() async throws {
        try await withEngine(.threading, EngineConfiguration(threadLimit: 2, threadKeepAlive: .seconds(3600))) {
            engine in
            let mayEnd = Completion<Void>()
            let jobs = try (0..<2).map { number in try engine.spawn(name: "job \(number)") { try await mayEnd.wait() } }
            for _ in 0..<3 {
                let error = #expect(throws: EngineError.self) { try engine.spawn(name: "too many") {} }
                #expect(error == .threadLimitReached(limit: 2))
                #expect(error?.description.contains("all 2 threads") == true)
            }
            #expect(engine.census.jobs == 2)
            mayEnd.complete(with: ())
            for job in jobs { try await job.wait() }
            // Whoever has waited for a job may count on its place.
            for _ in 0..<300 {
                let pair = try (0..<2).map { number in try engine.spawn(name: "next \(number)") {} }
                for job in pair { try await job.wait() }
            }
            #expect(engine.nativeThreads <= 2)
        }
    }

    @Test func `a thread that cannot be had is an error and costs no place`() async throws {
        let configuration = EngineConfiguration(threadLimit: 1, threadStackSize: 1 << 50)
        let registry = try makeRegistry()
        try await withEngine(.threading, configuration, registry: registry) { engine in
            for _ in 0..<5 {
                let error = #expect(throws: EngineError.self) { try engine.spawn(name: "none") {} }
                guard case .threadUnavailable(let reason) = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
                #expect(reason.operation == "pthread_create")
            }
            #expect(engine.census == Census())
        }
        let threads = try registry.gaugeFamily(
            "muster_job_threads", help: "Native threads that run jobs or wait for one.", labelNames: ["backend"])
        #expect(threads.labels("threading").value == 0)
    }

    @Test func `blocking work runs in place only where it holds nobody up`() async throws {
        try await withEngine(.threading) { engine in
            let loop = try EventLoop(name: "service")
            let isOver = Latch()
            try loop.attachThread(name: "service") { isOver.countDown() }
            // A loop that others share, as the main thread's is.
            let (own, worker) = try await Task(executorPreference: loop) {
                (NativeThread.currentIdentifier, try await engine.runBlocking { NativeThread.currentIdentifier })
            }.value
            #expect(own != worker)
            loop.stop()
            await isOver.wait()
        }
    }

    @Test func `many threads at once`() async throws {
        let count = 2000
        try await withEngine(
            .threading, EngineConfiguration(threadKeepAlive: .seconds(3600), threadStackSize: 256 << 10)
        ) { engine in
            let areRunning = Latch(count)
            let mayEnd = Completion<Void>()
            let jobs = try (0..<count).map { _ in
                try engine.spawn(name: "one of many") {
                    areRunning.countDown()
                    try await mayEnd.wait()
                }
            }
            await areRunning.wait()
            #expect(engine.census == Census(running: count, nativeThreads: count))
            mayEnd.complete(with: ())
            for job in jobs { try await job.wait() }
            try await until { engine.nativeThreads <= 64 }
        }
    }
}
