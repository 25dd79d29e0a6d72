// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterExecution
import MusterLock
import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Testing

/// What stays on a job's thread, sleeping, descriptors and blocking work, on both engines.
@Suite(.timeLimit(.minutes(3))) struct EngineConcurrencyTests {
    /// Runs a job and waits for it; its error is the caller's.
    private func run(
        _ engine: any ExecutionEngine, _ name: String = "job", _ body: @escaping @Sendable () async throws -> Void
    ) async throws {
        if let error = try await engine.spawn(name: name, body).wait().error { throw error }
    }

    // MARK: Sleeping

    @Test(arguments: EngineKind.allCases)
    func `a job sleeps as long as it wants, on its own thread`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            try await run(engine) {
                let thread = NativeThread.currentIdentifier
                let start = engine.clock.now
                try await engine.sleep(for: .milliseconds(2))
                #expect(start.duration(to: engine.clock.now) >= .milliseconds(2))
                try await engine.sleep(until: start)
                try await engine.sleep(for: .seconds(-5))
                #expect(NativeThread.currentIdentifier == thread)
            }
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `no tolerance lets a job go on early, and a job alone is not kept waiting by it`(kind: EngineKind) async throws
    {
        try await withEngine(kind) { engine in
            try await run(engine) {
                for tolerance in [.zero, .milliseconds(1), .seconds(3600), .seconds(-1)] as [Duration] {
                    let start = engine.clock.now
                    try await engine.sleep(for: .milliseconds(2), tolerance: tolerance)
                    #expect(start.duration(to: engine.clock.now) >= .milliseconds(2))
                    try await engine.sleep(until: start, tolerance: tolerance)
                }
            }
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `the end of an engine ends sleeps that may be longer`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let jobs = try (1...3).map { number in
                try engine.spawn(name: "patient") {
                    try await engine.sleep(for: .seconds(3600), tolerance: .seconds(number))
                }
            }
            try await engine.shutDown()
            for job in jobs {
                guard case .cancelled = try await job.wait() else { throw Unexpected() }
            }
        }
    }

    private struct Unexpected: Error {}

    @Test(arguments: EngineKind.allCases)
    func `those who are no job may sleep on the engine's clock too`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let start = engine.clock.now
            try await engine.sleep(for: .milliseconds(2))
            #expect(start.duration(to: engine.clock.now) >= .milliseconds(2))
            let sleeper = Task { try await engine.sleep(for: .seconds(3600)) }
            sleeper.cancel()
            await #expect(throws: CancellationError.self) { try await sleeper.value }
            try await Task { @MainActor in try await engine.sleep(for: .milliseconds(1)) }.value
        }
    }

    // MARK: Threads

    actor Register {
        private(set) var count = 0

        func add() {
            count += 1
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `a job is back on its thread after everything that runs elsewhere`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let register = Register()
            let strays = Counter()
            let jobs = try (0..<4).map { number in
                try engine.spawn(name: "job \(number)") {
                    let thread = NativeThread.currentIdentifier
                    func check() {
                        if NativeThread.currentIdentifier != thread { strays.add() }
                    }
                    for _ in 0..<50 {
                        await Task {}.value
                        check()
                        let wasElsewhere = await Task.detached { NativeThread.currentIdentifier != thread }.value
                        if !wasElsewhere { strays.add() }
                        check()
                        // Contended by the other jobs.
                        await register.add()
                        check()
                        await MainActor.run {}
                        check()
                        await engine.yield()
                        check()
                        try await Task.sleep(nanoseconds: 1)
                        check()
                    }
                }
            }
            for job in jobs { #expect(try await job.wait().error == nil) }
            #expect(await register.count == 200)
            #expect(strays.value == 0)
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `a job's children stay on its thread`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            try await run(engine) {
                let thread = NativeThread.currentIdentifier
                @Sendable func isHere() async -> Bool {
                    await Task.yield()
                    return NativeThread.currentIdentifier == thread
                }
                async let one = isHere()
                async let other = isHere()
                let both = await (one, other)
                #expect(both == (true, true))
                let here = await withTaskGroup(of: Bool.self) { group in
                    for _ in 0..<20 { group.addTask { await isHere() } }
                    return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
                }
                #expect(here == 20)
                try await withThrowingDiscardingTaskGroup { group in
                    group.addTask { #expect(await isHere()) }
                }
                let stream = AsyncStream { continuation in
                    Task.detached {
                        for number in 0..<10 { continuation.yield(number) }
                        continuation.finish()
                    }
                }
                for await _ in stream { #expect(NativeThread.currentIdentifier == thread) }
            }
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `jobs let each other run`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            // Each job waits for the others, so none may keep its thread to itself; then all go round.
            let turns = Locked([Int](repeating: 0, count: 4))
            let jobs = try (0..<4).map { number in
                try engine.spawn(name: "turn \(number)") {
                    while true {
                        let isOver = turns.withLock { turns in
                            if turns[number] == (turns.min() ?? 0) { turns[number] += 1 }
                            return (turns.min() ?? 0) >= 200
                        }
                        if isOver { return }
                        await engine.yield()
                    }
                }
            }
            for job in jobs { try await job.wait() }
        }
    }

    // MARK: Blocking work

    @Test(arguments: EngineKind.allCases)
    func `blocking work gives its result or its error`(kind: EngineKind) async throws {
        struct Failure: Error {}
        try await withEngine(kind) { engine in
            try await run(engine) {
                let thread = NativeThread.currentIdentifier
                let worker = try await engine.runBlocking { NativeThread.currentIdentifier }
                #expect((worker == thread) == (kind == .threading), "in place, or on a thread of the helper pool")
                await #expect(throws: Failure.self) { try await engine.runBlocking { throw Failure() } }
                #expect(NativeThread.currentIdentifier == thread)
            }
            // From where no job's thread is.
            let here = try await onThread { NativeThread.currentIdentifier }
            let there = try await engine.runBlocking { NativeThread.currentIdentifier }
            #expect(here != there && there != getpid())
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `blocking work of a cancelled task is not begun`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let ran = Counter()
            let job = try engine.spawn(name: "cancelled") {
                withUnsafeCurrentTask { $0?.cancel() }
                await #expect(throws: CancellationError.self) { try await engine.runBlocking { _ = ran.add() } }
            }
            #expect(try await job.wait().error == nil)
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                try await engine.runBlocking { _ = ran.add() }
            }
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(ran.value == 0)
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `other jobs go on while one blocks`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let gate = Gate()
            let isBlocked = Latch()
            let blocked = try engine.spawn(name: "blocked") {
                try await engine.runBlocking {
                    isBlocked.countDown()
                    gate.pass()
                }
            }
            await isBlocked.wait()
            for _ in 0..<20 { try await run(engine) { await engine.yield() } }
            #expect(blocked.state == .running)
            gate.open()
            try await blocked.wait()
        }
    }

    // MARK: Descriptors

    @Test(arguments: EngineKind.allCases)
    func `two jobs talk over a socket`(kind: EngineKind) async throws {
        let pair = try SocketPair()
        let size = 300_000
        let expected = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try await withEngine(kind) { engine in
            let echo = try engine.spawn(name: "echo") {
                var buffer = [UInt8](repeating: 0, count: 4096)
                while true {
                    try await engine.ready(pair.far.rawValue, for: .readable)
                    let count = read(pair.far.rawValue, &buffer, buffer.count)
                    if count == 0 { return }
                    var sent = 0
                    while sent < count {
                        let written = buffer[sent..<max(sent, count)].withUnsafeBytes {
                            write(pair.far.rawValue, $0.baseAddress, $0.count)
                        }
                        if written > 0 {
                            sent += written
                        } else {
                            try await engine.ready(pair.far.rawValue, for: .writable)
                        }
                    }
                }
            }
            let client = try engine.spawn(name: "client") {
                // Sends and receives at the same time, on one descriptor.
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        var sent = 0
                        while sent < size {
                            let written = expected[sent..<min(size, sent + 10_000)].withUnsafeBytes {
                                write(pair.near.rawValue, $0.baseAddress, $0.count)
                            }
                            if written > 0 {
                                sent += written
                            } else {
                                try await engine.ready(pair.near.rawValue, for: .writable)
                            }
                        }
                    }
                    group.addTask {
                        var received: [UInt8] = []
                        var buffer = [UInt8](repeating: 0, count: 8192)
                        while received.count < size {
                            try await engine.ready(pair.near.rawValue, for: .readable)
                            let count = read(pair.near.rawValue, &buffer, buffer.count)
                            if count > 0 { received.append(contentsOf: buffer[..<count]) }
                        }
                        #expect(received == expected)
                    }
                    try await group.waitForAll()
                }
                shutdown(pair.near.rawValue, Int32(SHUT_WR))
            }
            #expect(try await client.wait().error == nil)
            #expect(try await echo.wait().error == nil)
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `a job that waits for a descriptor can be cancelled, and those who are no job may wait`(
        kind: EngineKind
    ) async throws {
        let pair = try SocketPair()
        try await withEngine(kind) { engine in
            let isRunning = Latch()
            let job = try engine.spawn(name: "waiting") {
                isRunning.countDown()
                try await engine.ready(pair.near.rawValue, for: .readable)
            }
            await isRunning.wait()
            job.cancel()
            guard case .cancelled = try await job.wait() else {
                Issue.record("it was not cancelled")
                return
            }
            let outside = Task { try await engine.ready(pair.near.rawValue, for: .readable) }
            poke(pair.far)
            try await outside.value
            await #expect(throws: DescriptorError.self) { try await engine.ready(9999, for: .readable) }
        }
    }
}
