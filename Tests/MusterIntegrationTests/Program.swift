// SPDX-License-Identifier: Apache-2.0

import Foundation

/// A program started by a test.
///
/// Sound as `@unchecked Sendable`: `process` is configured before it runs and then only asked and signalled, which
/// Foundation allows from any thread; everything that changes is behind `lock`.
final class Program: @unchecked Sendable {
    struct Ended: Error, CustomStringConvertible {
        let description: String
    }

    private let process = Process()
    private let lock = NSCondition()
    private var out = ""
    private var err = ""
    private var exitStatus: Int32?

    init(
        _ executable: String, _ arguments: [String], environment: [String: String] = [:],
        input: FileHandle = .nullDevice
    ) throws {
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        var merged = ProcessInfo.processInfo.environment
        merged["MUSTER_BACKEND"] = nil
        merged.merge(environment) { $1 }
        process.environment = merged
        process.standardInput = input
        let outPipe = Pipe()
        let errPipe = Pipe()
        process.standardOutput = outPipe
        process.standardError = errPipe
        process.terminationHandler = { [self] process in
            let signalled = process.terminationReason == .uncaughtSignal
            update { exitStatus = process.terminationStatus + (signalled ? 128 : 0) }
        }
        // The threads that tests run on have most signals blocked, and a program would inherit that.
        var none = sigset_t()
        sigemptyset(&none)
        var mask = sigset_t()
        pthread_sigmask(SIG_SETMASK, &none, &mask)
        defer { pthread_sigmask(SIG_SETMASK, &mask, nil) }
        try process.run()
        collect(outPipe) { self.out += $0 }
        collect(errPipe) { self.err += $0 }
    }

    private func update(_ change: () -> Void) {
        lock.lock()
        change()
        lock.broadcast()
        lock.unlock()
    }

    private func collect(_ pipe: Pipe, _ add: @escaping @Sendable (String) -> Void) {
        Thread.detachNewThread { [self] in
            while true {
                let data = pipe.fileHandleForReading.availableData
                if data.isEmpty { return }
                update { add(String(decoding: data, as: UTF8.self)) }
            }
        }
    }

    var pid: Int32 { process.processIdentifier }
    var output: String { lock.withLock { out } }
    var errors: String { lock.withLock { err } }

    /// Waits until the program has written something to its standard output, or has ended.
    func waitForOutput(containing text: String, within limit: TimeInterval = 60) async throws {
        try await onThread { [self] in
            let deadline = Date().addingTimeInterval(limit)
            lock.lock()
            defer { lock.unlock() }
            while !out.contains(text) {
                let isInTime = lock.wait(until: deadline)
                if exitStatus != nil || !isInTime {
                    throw Ended(
                        description:
                            "waited for '\(text)'; status \(exitStatus.map(String.init) ?? "running")\n\(out)\n\(err)")
                }
            }
        }
    }

    /// Waits until the program has written something to its standard error.
    func waitForErrors(containing text: String, within limit: TimeInterval = 60) async throws {
        try await onThread { [self] in
            let deadline = Date().addingTimeInterval(limit)
            lock.lock()
            defer { lock.unlock() }
            while !err.contains(text) {
                guard lock.wait(until: deadline) else {
                    throw Ended(description: "waited for '\(text)' in:\n\(err)")
                }
            }
        }
    }

    /// Waits for the end and returns the exit status, or 128 plus the signal.
    func status() async -> Int32 {
        await onThread { [self] in
            lock.lock()
            defer { lock.unlock() }
            while true {
                if let exitStatus { return exitStatus }
                lock.wait()
            }
        }
    }

    /// Ends the program if it still runs.
    func end() {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    deinit { end() }
}

/// Runs something that blocks on a thread of its own.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Swift.Result(catching: body)) }
    }
}

/// Runs something that blocks on a thread of its own.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
    await withCheckedContinuation { continuation in
        Thread.detachNewThread { continuation.resume(returning: body()) }
    }
}

/// Asks another program's state until it answers: the one thing that has no event to wait for.
func eventually<Value>(
    _ what: String, within limit: Duration = .seconds(60), _ ask: () async throws -> Value?
) async throws -> Value {
    let deadline = ContinuousClock.now.advanced(by: limit)
    while ContinuousClock.now < deadline {
        if let value = try await ask() { return value }
        try await Task.sleep(for: .milliseconds(50))
    }
    throw Program.Ended(description: "\(what) did not come within \(limit)")
}
