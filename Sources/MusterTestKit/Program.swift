// SPDX-License-Identifier: Apache-2.0

package import Foundation
import MusterPlatform

/// A program started by a test.
///
/// Sound as `@unchecked Sendable`: `process` is configured before it runs and then only asked and signalled, which
/// Foundation allows from any thread; everything that changes is behind `lock`.
package final class Program: @unchecked Sendable {
    /// Why a test's wait was in vain.
    package struct Ended: Error, CustomStringConvertible {
        package let description: String

        package init(description: String) {
            self.description = description
        }
    }

    /// How long what a program has written may take to arrive once it has ended; those that it has started may write,
    /// too.
    private static let afterlife: TimeInterval = 5

    private let process = Process()
    private let input = Pipe()
    private let lock = NSCondition()
    private var transcript = Transcript()

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - executable: Its path.
    ///   - arguments: The arguments after its name.
    ///   - environment: What is added to the test's own environment.
    ///   - given: Its standard input; decided by `keepsInput` when `nil`.
    ///   - keepsInput: Whether its standard input stays open as long as this process and says nothing; else it has
    ///     none.
    package init(
        _ executable: String, _ arguments: [String], environment: [String: String] = [:],
        input given: FileHandle? = nil, keepsInput: Bool = false
    ) throws {
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        var merged = ProcessInfo.processInfo.environment
        merged["MUSTER_BACKEND"] = nil
        merged.merge(environment) { $1 }
        process.environment = merged
        if let given {
            process.standardInput = given
        } else {
            process.standardInput = keepsInput ? input : FileHandle.nullDevice
        }
        let outPipe = Pipe()
        let errPipe = Pipe()
        process.standardOutput = outPipe
        process.standardError = errPipe
        // Foundation keeps the handler, and with it would keep the pipes open.
        process.terminationHandler = { [weak self] process in
            let signalled = process.terminationReason == .uncaughtSignal
            self?.update { $0.exitStatus = process.terminationStatus + (signalled ? 128 : 0) }
        }
        // The threads that tests run on have most signals blocked, and a program would inherit that.
        var none = sigset_t()
        sigemptyset(&none)
        var mask = sigset_t()
        pthread_sigmask(SIG_SETMASK, &none, &mask)
        defer { pthread_sigmask(SIG_SETMASK, &mask, nil) }
        try process.run()
        collect(outPipe) { $0.addOutput($1) }
        collect(errPipe) { $0.errors += $1 }
    }

    package func update(_ change: (inout Transcript) -> Void) {
        lock.lock()
        change(&transcript)
        transcript.version += 1
        lock.broadcast()
        lock.unlock()
    }

    private func collect(_ pipe: Pipe, _ add: @escaping @Sendable (inout Transcript, String) -> Void) {
        Thread.detachNewThread { [self] in
            while true {
                let data = pipe.fileHandleForReading.availableData
                if data.isEmpty { return update { $0.openPipes -= 1 } }
                update { add(&$0, String(decoding: data, as: UTF8.self)) }
            }
        }
    }

    /// Writes to its standard input, which it keeps.
    package func write(_ text: String) {
        input.fileHandleForWriting.write(Data(text.utf8))
    }

    package var pid: Int32 { process.processIdentifier }
    package var output: String { lock.withLock { transcript.output } }
    package var errors: String { lock.withLock { transcript.errors } }
    package var isRunning: Bool { lock.withLock { transcript.exitStatus == nil } }

    /// Looks at what the program has written so far.
    package func look<Value>(_ look: (Transcript) throws -> Value) rethrows -> Value {
        try lock.withLock { try look(transcript) }
    }

    /// Waits until something can be made of what the program has written.
    ///
    /// - Parameters:
    ///   - what: What is waited for, for the error.
    ///   - limit: For how long.
    ///   - look: Returns nil until it has come.
    package func wait<Value: Sendable>(
        for what: String, within limit: TimeInterval = 60, _ look: @escaping @Sendable (Transcript) throws -> Value?
    ) async throws -> Value {
        if let value = try lock.withLock({ try look(transcript) }) { return value }
        return try await onThread { [self] in
            var deadline = Date().addingTimeInterval(limit)
            var isOver = false
            lock.lock()
            defer { lock.unlock() }
            while true {
                if let value = try look(transcript) { return value }
                if transcript.exitStatus != nil, !isOver {
                    isOver = true
                    deadline = min(deadline, Date().addingTimeInterval(Self.afterlife))
                }
                guard lock.wait(until: deadline) else {
                    throw Ended(description: "waited in vain for \(what); \(transcript)")
                }
            }
        }
    }

    /// Waits until something has been added to the transcript since a version, but not for long.
    package func change(since version: Int, within limit: Duration) async throws {
        _ = try await onThread { [self] in
            lock.lock()
            defer { lock.unlock() }
            let deadline = Date().addingTimeInterval(limit.inSeconds)
            while transcript.version == version, lock.wait(until: deadline) {}
        }
    }

    /// Waits until the program has written something to its standard output.
    package func waitForOutput(containing text: String, within limit: TimeInterval = 60) async throws {
        try await wait(for: "'\(text)' on standard output", within: limit) { $0.output.contains(text) ? () : nil }
    }

    /// Waits until the program has written something to its standard error.
    package func waitForErrors(containing text: String, within limit: TimeInterval = 60) async throws {
        try await wait(for: "'\(text)' on standard error", within: limit) { $0.errors.contains(text) ? () : nil }
    }

    /// Waits for the end, and for what it has written before, and returns the exit status, or 128 plus the signal.
    package func status(within limit: TimeInterval = 120) async throws -> Int32 {
        let status = try await wait(for: "its end", within: limit) { $0.exitStatus }
        // A child that it has left behind may keep them open.
        try? await wait(for: "the end of its output", within: Self.afterlife) { $0.openPipes == 0 ? () : nil }
        return status
    }

    /// Ends the program if it still runs.
    package func end() {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    deinit { end() }
}

/// Asks another program's state until it answers: the one thing that has no event to wait for.
package func eventually<Value>(
    _ what: String, within limit: Duration = .seconds(60), _ ask: () async throws -> Value?
) async throws -> Value {
    let deadline = ContinuousClock.now.advanced(by: limit)
    while ContinuousClock.now < deadline {
        if let value = try await ask() { return value }
        try await Task.sleep(for: .milliseconds(50))
    }
    throw Program.Ended(description: "\(what) did not come within \(limit)")
}

/// Runs a closure on a native thread of its own, without holding up the caller's.
package func onThread<Result: Sendable>(
    _ name: String = "test", _ body: @escaping @Sendable () throws -> Result
) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        do {
            try NativeThread.start(name: name) {
                continuation.resume(with: Swift.Result(catching: body))
            }
        } catch {
            continuation.resume(throwing: error)
        }
    }
}

/// What a program has written, and how it has ended.
package struct Transcript: Sendable, CustomStringConvertible {
    /// The whole lines of its standard output.
    package private(set) var lines: [String] = []
    /// What it has written since the last line's end.
    package private(set) var rest = ""
    package var errors = ""
    /// The exit status, or 128 plus the signal.
    package var exitStatus: Int32?

    /// What it has sent to its service manager.
    package var notifications: [String] = []
    /// How often something has been added.
    package fileprivate(set) var version = 0

    /// How many of its standard output and error are still open, with it or with a child that has inherited them.
    package internal(set) var openPipes = 2

    package init() {}

    package var output: String { lines.map { "\($0)\n" }.joined() + rest }

    mutating func addOutput(_ text: String) {
        rest += text
        var parts = rest.split(separator: "\n", omittingEmptySubsequences: false)
        rest = String(parts.removeLast())
        lines += parts.map(String.init)
    }

    package var description: String {
        """
        status: \(exitStatus.map(String.init) ?? "running")
        output:
        \(output)
        errors:
        \(errors)
        """
    }
}

/// A folder that is removed with its owner.
package final class TemporaryFolder: Sendable {
    package let url: URL

    package init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("muster-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    package func path(_ name: String) -> String { url.appendingPathComponent(name).path }

    package func write(_ text: String, to name: String) throws -> String {
        try text.write(toFile: path(name), atomically: true, encoding: .utf8)
        return path(name)
    }

    deinit { try? FileManager.default.removeItem(at: url) }
}
