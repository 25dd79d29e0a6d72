// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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
