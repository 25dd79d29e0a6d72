// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import Foundation
import MusterExecution

/// The program that launches services in processes, run by a test.
///
/// Sound as `@unchecked Sendable`: `process` is configured before it runs, and then only asked and signalled, which
/// Foundation allows from any thread.
final class LifecycleProgram: @unchecked Sendable {
    /// What a process has said: `what worker pid`.
    struct Line: Sendable {
        let what: String
        let worker: String
        let pid: Int32

        init?(_ text: String) {
            let words = text.split(separator: " ")
            guard words.count == 3, let pid = Int32(words[2]) else { return nil }
            what = String(words[0])
            worker = String(words[1])
            self.pid = pid
        }
    }

    private let process = Process()
    private let lines = Journal()
    private let over = Completion<Int32>()
    private let closed = Completion<Void>()

    init(_ mode: String) throws {
        process.executableURL = URL(fileURLWithPath: ProcessInfo.processInfo.arguments[0]).deletingLastPathComponent()
            .appendingPathComponent("muster-lifecycle-program")
        process.arguments = [mode]
        process.standardInput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        let output = Pipe()
        process.standardOutput = output
        process.terminationHandler = { [over] process in
            over.complete(with: process.terminationStatus + (process.terminationReason == .uncaughtSignal ? 128 : 0))
        }
        try process.run()
        Thread.detachNewThread { [lines, closed] in
            var rest = ""
            while true {
                let data = output.fileHandleForReading.availableData
                if data.isEmpty { break }
                rest += String(decoding: data, as: UTF8.self)
                while let end = rest.firstIndex(of: "\n") {
                    lines.note(String(rest[..<end]))
                    rest = String(rest[rest.index(after: end)...])
                }
            }
            closed.complete(with: ())
        }
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    var pid: Int32 { process.processIdentifier }

    /// What has been said so far.
    func said(_ what: String) -> [Line] {
        lines.all.compactMap(Line.init).filter { $0.what == what }
    }

    /// Waits until something has been said so often.
    @discardableResult
    func wait(for what: String, _ count: Int = 1) async throws -> [Line] {
        try await lines.wait(until: { entries in
            entries.compactMap(Line.init).count { $0.what == what } >= count
        })
        return said(what)
    }

    /// Waits for the end of all of its processes.
    ///
    /// - Returns: The exit status, or 128 plus the signal.
    func status() async throws -> Int32 {
        try await closed.wait()
        return try await over.wait()
    }
}
#endif
