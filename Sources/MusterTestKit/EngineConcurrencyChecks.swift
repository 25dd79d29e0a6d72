// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterExecution
import MusterLock
import MusterPlatform

private struct Deliberate: Error {}

private actor Register {
    private(set) var count = 0

    func add() { count += 1 }
}

extension EngineConformance {
    static let sleepChecks = [
        EngineConformance("a job sleeps as long as it wants, with and without tolerance, and never less") { subject in
            let engine = subject.engine
            try await subject.run {
                for tolerance in [.zero, .milliseconds(1), .seconds(3600), .seconds(-1)] as [Duration] {
                    let start = engine.clock.now
                    try await engine.sleep(for: .milliseconds(2), tolerance: tolerance)
                    let slept = start.duration(to: engine.clock.now)
                    try expect(slept >= .milliseconds(2), "a sleep of 2 ms took \(slept)")
                    // What is in the past is no wait.
                    try await engine.sleep(until: start, tolerance: tolerance)
                    try await engine.sleep(for: .seconds(-5))
                }
            }
        },
        EngineConformance("the engine's end ends every sleep") { subject in
            let jobs = try (1...3).map { number in
                try subject.engine.spawn(name: "patient") {
                    try await subject.engine.sleep(for: .seconds(3600), tolerance: .seconds(number))
                }
            }
            try await subject.engine.shutDown()
            for job in jobs {
                guard case .cancelled = try await job.wait() else { throw Unmet(text: "a sleeper was not cancelled") }
            }
        },
        EngineConformance("code that is no job may sleep on the engine's clock too") { subject in
            let engine = subject.engine
            let start = engine.clock.now
            try await engine.sleep(for: .milliseconds(2))
            try expect(start.duration(to: engine.clock.now) >= .milliseconds(2), "a sleep ended early")
            let sleeper = Task { try await engine.sleep(for: .seconds(3600)) }
            sleeper.cancel()
            try await expect(CancellationError.self, "a sleep is not cancelled") { try await sleeper.value }
        },
        EngineConformance("jobs let each other run") { subject in
            // Each waits for the others, so none may keep its thread to itself; then all go round.
            let turns = Locked([Int](repeating: 0, count: 4))
            let jobs = try (0..<4).map { number in
                try subject.engine.spawn(name: "turn \(number)") {
                    while true {
                        let isOver = turns.withLock { turns in
                            if turns[number] == (turns.min() ?? 0) { turns[number] += 1 }
                            return (turns.min() ?? 0) >= 200
                        }
                        if isOver { return }
                        await subject.engine.yield()
                    }
                }
            }
            for job in jobs { try await job.wait() }
        },
    ]

    static let threadChecks = [
        EngineConformance("a job is back on its thread after everything that runs elsewhere") { subject in
            let register = Register()
            let strays = Locked<[String]>([])
            let jobs = try (0..<4).map { number in
                try subject.engine.spawn(name: "job \(number)") {
                    let thread = NativeThread.currentIdentifier
                    func check(_ what: String) {
                        if NativeThread.currentIdentifier != thread { strays.withLock { $0.append(what) } }
                    }
                    for _ in 0..<50 {
                        await Task {}.value
                        check("a Task")
                        if await Task.detached(operation: { NativeThread.currentIdentifier }).value == thread {
                            strays.withLock { $0.append("a detached task, which runs on the job's thread") }
                        }
                        check("a detached task")
                        // Contended by the other jobs.
                        await register.add()
                        check("an actor's method")
                        await MainActor.run {}
                        check("the main actor")
                        await subject.engine.yield()
                        check("yield()")
                        try await subject.engine.sleep(for: .nanoseconds(1))
                        check("sleep(for:)")
                        try await Task.sleep(nanoseconds: 1)
                        check("Task.sleep")
                    }
                }
            }
            for job in jobs { try await job.result() }
            let found = strays.withLock { $0 }
            try expect(found.isEmpty, "a job was on another thread after \(found.first ?? "")")
            try expect(await register.count == 200, "calls of an actor are lost")
        },
        EngineConformance("a job's children stay on its thread") { subject in
            try await subject.run {
                let thread = NativeThread.currentIdentifier
                @Sendable func isHere() async -> Bool {
                    await Task.yield()
                    return NativeThread.currentIdentifier == thread
                }
                async let one = isHere()
                async let other = isHere()
                let both = await (one, other)
                try expect(both == (true, true), "an async let runs on another thread")
                let here = await withTaskGroup(of: Bool.self) { group in
                    for _ in 0..<20 { group.addTask { await isHere() } }
                    return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
                }
                try expect(here == 20, "\(20 - here) of 20 child tasks ran on another thread")
                let stream = AsyncStream { continuation in
                    Task.detached {
                        for number in 0..<10 { continuation.yield(number) }
                        continuation.finish()
                    }
                }
                for await _ in stream {
                    try expect(NativeThread.currentIdentifier == thread, "a stream's element came on another thread")
                }
            }
        },
    ]

    static let blockingChecks = [
        EngineConformance("blocking work gives its result or its error, to jobs and to others") { subject in
            let engine = subject.engine
            try await subject.run {
                try expect(try await engine.runBlocking { 42 } == 42, "the result of blocking work is lost")
                try await expect(Deliberate.self, "the error of blocking work is lost") {
                    try await engine.runBlocking { throw Deliberate() }
                }
            }
            let other = try await Task { try await engine.runBlocking { 42 } }.value
            try expect(other == 42, "the result of blocking work is lost where the caller is no job")
        },
        EngineConformance("blocking work of a cancelled task is not begun") { subject in
            let engine = subject.engine
            let ran = Locked(false)
            @Sendable func attempt() async throws {
                withUnsafeCurrentTask { $0?.cancel() }
                try await expect(
                    CancellationError.self, "blocking work of a cancelled task throws no CancellationError"
                ) {
                    try await engine.runBlocking { ran.withLock { $0 = true } }
                }
            }
            try await subject.run { try await attempt() }
            try await Task { try await attempt() }.value
            try expect(!ran.withLock { $0 }, "blocking work of a cancelled task was begun")
        },
        EngineConformance("other jobs go on while one blocks, and the engine does not count as stalled") { subject in
            let engine = subject.engine
            let gate = try ThreadGate()
            defer { gate.open() }
            let isBlocked = Countdown(4)
            let blocked = try (0..<4).map { number in
                try engine.spawn(name: "blocked \(number)") {
                    try await engine.runBlocking {
                        isBlocked.report()
                        gate.pass()
                    }
                }
            }
            try await isBlocked.wait()
            for _ in 0..<20 { try await subject.run { await engine.yield() } }
            try expect(blocked.allSatisfy { $0.state == .running }, "a job that blocks does not count as running")
            try await settle("blocking work counts as a stall of \(engine.stalledTime)") { engine.stalledTime == .zero }
            gate.open()
            for job in blocked { try await job.result() }
        },
    ]

    static let descriptorChecks = [
        EngineConformance("two jobs talk over a socket") { subject in
            let engine = subject.engine
            let (near, far) = try connectedSockets(blocking: false)
            let size = 300_000
            let expected = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            @Sendable func send(_ bytes: ArraySlice<UInt8>, to descriptor: OwnedDescriptor) async throws {
                var rest = bytes
                while !rest.isEmpty {
                    let written = rest.withUnsafeBytes { write(descriptor.rawValue, $0.baseAddress, $0.count) }
                    if written > 0 {
                        rest = rest.dropFirst(written)
                    } else {
                        try await engine.ready(descriptor.rawValue, for: .writable)
                    }
                }
            }
            let echo = try engine.spawn(name: "echo") {
                var buffer = [UInt8](repeating: 0, count: 4096)
                while true {
                    try await engine.ready(far.rawValue, for: .readable)
                    let count = read(far.rawValue, &buffer, buffer.count)
                    if count == 0 { return }
                    if count > 0 { try await send(buffer[..<count], to: far) }
                }
            }
            let client = try engine.spawn(name: "client") {
                // Sends and receives at the same time, on one descriptor.
                async let sending: Void = send(expected[...], to: near)
                var received: [UInt8] = []
                var buffer = [UInt8](repeating: 0, count: 8192)
                while received.count < size {
                    try await engine.ready(near.rawValue, for: .readable)
                    let count = read(near.rawValue, &buffer, buffer.count)
                    if count > 0 { received.append(contentsOf: buffer[..<count]) }
                }
                try await sending
                shutdown(near.rawValue, Int32(SHUT_WR))
                try expect(received == expected, "what came back is not what was sent")
            }
            try await client.result()
            try await echo.result()
        },
        EngineConformance("a wait for a descriptor can be cancelled, and code that is no job may wait too") { subject in
            let engine = subject.engine
            let (near, far) = try connectedSockets(blocking: false)
            let begun = Countdown()
            let job = try engine.spawn(name: "waiting") {
                begun.report()
                try await engine.ready(near.rawValue, for: .readable)
            }
            try await begun.wait()
            job.cancel()
            guard case .cancelled = try await job.wait() else { throw Unmet(text: "a wait is not cancelled") }
            let outside = Task { try await engine.ready(near.rawValue, for: .readable) }
            var byte: UInt8 = 1
            _ = write(far.rawValue, &byte, 1)
            try await outside.value
            try await expect(DescriptorError.self, "a wait for a descriptor that is not open gives no error") {
                try await engine.ready(9999, for: .readable)
            }
        },
    ]
}
