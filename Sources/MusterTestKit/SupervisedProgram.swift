// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import MusterLock
public import MusterPlatform

/// A program of Muster's, started by a test as it runs in production: a supervisor with its worker processes.
///
/// ```swift
/// try await SupervisedProgram.run(".build/debug/mailer", ["--workers=2"]) { program in
///     try await program.ready()
///     let worker = try await program.workers()[0]
///     worker.send(.kill)
///     try await program.logged("worker exited", "signal=SIGKILL")
///     try await program.metric("muster_worker_restarts_total", ["reason": "signal"], is: 1)
///     program.send(.terminate)
///     #expect(try await program.exitStatus() == 0)
/// }
/// ```
///
/// Lines, notifications and the end of the program are waited for as events. The endpoint is asked again after each event,
/// and every 100 ms, because a value there may change without one. Each wait ends after the time limit with an error that
/// says what was seen last and what the program has written.
///
/// The program gets `MUSTER_ENDPOINT_ADDRESS` and `NOTIFY_SOCKET`, unless the test gives them: its endpoint is at a
/// socket of the test's own, so that programs run side by side, and it says as to systemd when it is ready.
public final class SupervisedProgram: Sendable {
    /// A worker process, as `/status` has it.
    public struct Worker: Hashable, Sendable {
        /// The launched service's name and the slot, for example `mailer/0`.
        public let name: String
        /// The process; `nil` while the slot has none.
        public let pid: Int32?
        /// The state of the slot, for example `ready`.
        public let state: String

        /// Sends a signal to the process: `.kill` ends it, `.stop` lets it hang, `.continue` lets it go on.
        public func send(_ signal: UnixSignal) {
            if let pid { _ = Glibc.kill(pid, signal.rawValue) }
        }
    }

    private struct Status: Decodable {
        struct Worker: Decodable {
            struct Process: Decodable { let pid: Int32 }

            let group: String
            let slot: Int
            let state: String
            let process: Process?
        }

        let workers: [Worker]
    }

    package let program: Program
    private let folder: TemporaryFolder
    private let notifications: NotificationSocket
    private let limit: Duration

    private init(
        _ executable: String, _ arguments: [String], environment: [String: String], within limit: Duration
    ) throws {
        self.limit = limit
        folder = try TemporaryFolder()
        notifications = try NotificationSocket(path: folder.path("notify"))
        let defaults = [
            "MUSTER_ENDPOINT_ADDRESS": "unix:\(folder.path("endpoint"))", "NOTIFY_SOCKET": folder.path("notify"),
        ]
        program = try Program(
            executable, arguments, environment: defaults.merging(environment) { $1 }, keepsInput: true)
        notifications.receive { [program] text in
            program.update { $0.notifications += text.split(separator: "\n").map(String.init) }
        }
    }

    /// Runs a program during a test, and ends it, and with it its workers, after that.
    ///
    /// - Parameters:
    ///   - executable: Its path.
    ///   - arguments: The arguments after its name.
    ///   - environment: What is added to the test's own environment.
    ///   - limit: How long each wait may last.
    ///   - body: The test. It runs where the caller is.
    /// - Throws: What the test throws; an error when the program cannot be started.
    public nonisolated(nonsending) static func run<Result>(
        _ executable: String, _ arguments: [String] = [], environment: [String: String] = [:],
        within limit: Duration = .seconds(60),
        _ body: nonisolated(nonsending) (SupervisedProgram) async throws -> Result
    ) async throws -> Result {
        let program = try SupervisedProgram(executable, arguments, environment: environment, within: limit)
        // A worker ends when its supervisor does.
        defer { program.program.end() }
        return try await body(program)
    }

    // MARK: The program

    /// The supervisor's process.
    public var pid: Int32 { program.pid }

    /// Sends a signal to the supervisor: `.terminate` stops the program, `.hangUp` reloads it.
    public func send(_ signal: UnixSignal) {
        _ = Glibc.kill(pid, signal.rawValue)
    }

    /// Waits until the program has said that it is ready: every worker is.
    public func ready() async throws {
        try await wait("readiness") { $0.notifications.contains("READY=1") ? () : nil }
    }

    /// Replaces the workers one by one, or lets them take up their settings, as the program is set, and waits for the end of
    /// that.
    ///
    /// - Throws: When the reload was refused or aborted, among others.
    public func reload() async throws {
        let ends = { @Sendable (transcript: Transcript) in
            ["completed", "aborted", "failed", "refused", "superseded"]
                .flatMap { Self.lines(transcript, ["reload \($0)"]) }
        }
        let earlier = program.look(ends)
        send(.hangUp)
        let line = try await wait("the end of the reload") { transcript in
            ends(transcript).difference(from: earlier).insertions.first.map { change in
                if case .insert(_, let line, _) = change { line } else { "" }
            }
        }
        guard line.contains("reload completed") else { throw Program.Ended(description: line) }
    }

    /// Waits for the program's end.
    ///
    /// - Returns: The exit status, or 128 plus the signal that ended it.
    public func exitStatus() async throws -> Int32 {
        try await program.status(within: limit.inSeconds)
    }

    // MARK: What it writes

    /// Waits until lines of its standard output or error, the log among them, have some words in them.
    ///
    /// - Parameters:
    ///   - words: All that a line has to contain, for example an event and a piece of its metadata.
    ///   - count: How many such lines.
    /// - Returns: The lines so far, those of standard output first.
    @discardableResult
    public func logged(_ words: String..., count: Int = 1) async throws -> [String] {
        try await wait("\(count) lines with \(words)") { transcript in
            let lines = Self.lines(transcript, words)
            return lines.count >= count ? lines : nil
        }
    }

    /// The lines so far that have some words in them, those of standard output first.
    public func lines(_ words: String...) -> [String] {
        program.look { Self.lines($0, words) }
    }

    private static func lines(_ transcript: Transcript, _ words: [String]) -> [String] {
        (transcript.lines + transcript.errors.split(separator: "\n").map(String.init))
            .filter { line in words.allSatisfy { line.contains($0) } }
    }

    private func wait<Value: Sendable>(
        _ what: String, _ look: @escaping @Sendable (Transcript) throws -> Value?
    ) async throws -> Value {
        try await program.wait(for: what, within: limit.inSeconds, look)
    }

    // MARK: Its endpoint

    /// Gets a resource of the endpoint, for example `/readyz?verbose`.
    public func get(_ path: String) async throws -> (status: Int, body: String) {
        let answer = try await answer(path)
        return (answer.status, answer.body)
    }

    private func answer(_ path: String) async throws -> HTTPAnswer {
        let socket = folder.path("endpoint")
        if FileManager.default.fileExists(atPath: socket) {
            return try await HTTPAnswer.get(path, fromSocket: socket)
        }
        let url = try await wait("the endpoint's address") { transcript in
            Self.lines(transcript, ["endpoint listening"]).last?.firstMatch(of: /url"?[=:]"?(http[^\s"]+)/)?.1
        }
        return try await HTTPAnswer.get(url + path)
    }

    /// The samples at `/metrics`.
    public func metrics() async throws -> [MetricSample] {
        MetricSample.all(in: try await body(of: "/metrics"))
    }

    /// The workers at `/status`, by group and slot, as they were 100 ms ago at most.
    public func workers() async throws -> [Worker] {
        let status = try JSONDecoder().decode(Status.self, from: Data(try await body(of: "/status").utf8))
        return status.workers.map { Worker(name: "\($0.group)/\($0.slot)", pid: $0.process?.pid, state: $0.state) }
    }

    private func body(of path: String) async throws -> String {
        let answer = try await answer(path)
        guard answer.status == 200 else {
            throw Program.Ended(description: "\(path) answers \(answer.status): \(answer.body)")
        }
        return answer.body
    }

    /// Waits until the samples of a metric with at least some labels add up to a value.
    public func metric(_ name: String, _ labels: [String: String] = [:], is value: Double) async throws {
        try await until("\(name)\(labels) \(value)", { try await metrics().sum(name, labels) }) { $0.number == value }
    }

    /// Looks at something again and again until it fits.
    ///
    /// - Parameters:
    ///   - what: What is waited for, for the error.
    ///   - look: Looks; what it throws counts as not fitting.
    ///   - fits: Whether what was seen fits.
    /// - Returns: What fits.
    /// - Throws: After the time limit, an error with what was seen last; `CancellationError`.
    @discardableResult
    public nonisolated(nonsending) func until<Value>(
        _ what: String, _ look: nonisolated(nonsending) () async throws -> Value, _ fits: (Value) -> Bool
    ) async throws -> Value {
        let deadline = MonotonicInstant.now.advanced(by: limit)
        while true {
            let version = program.look { $0.version }
            let last: String
            do {
                let value = try await look()
                if fits(value) { return value }
                last = "\(value)"
            } catch {
                last = "\(error)"
            }
            try Task.checkCancellation()
            guard MonotonicInstant.now < deadline else {
                throw Program.Ended(
                    description: "waited in vain for \(what); seen last: \(last); \(program.look { "\($0)" })")
            }
            try await program.change(since: version, within: .milliseconds(100))
        }
    }
}

/// Where a service manager receives sd_notify(3)'s messages.
private final class NotificationSocket: Sendable {
    private let descriptor: OwnedDescriptor
    private let watch = Locked<EventLoop.Watch?>(nil)

    init(path: String) throws {
        descriptor = OwnedDescriptor(
            socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw Program.Ended(description: "the path of a socket is too long: \(path); choose a shorter TMPDIR")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor.rawValue, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard code == 0 else { throw SystemError("bind") }
    }

    /// Calls a closure with each message.
    func receive(_ body: @escaping @Sendable (String) -> Void) {
        let loop = EventLoop.auxiliary
        loop.submit { [weak self, descriptor] in
            let watch = try? loop.watch(descriptor.rawValue, for: .readable) { _ in
                var buffer = [UInt8](repeating: 0, count: 4096)
                let count = recv(descriptor.rawValue, &buffer, buffer.count, 0)
                if count > 0 { body(String(decoding: buffer[..<count], as: UTF8.self)) }
            }
            guard let watch else { return }
            if let self { self.watch.withLock { $0 = watch } } else { loop.unwatch(watch) }
        }
    }

    deinit {
        guard let watch = watch.withLock({ $0 }) else { return }
        // The descriptor has to be open until then.
        EventLoop.auxiliary.submit { [descriptor] in
            EventLoop.auxiliary.unwatch(watch)
            withExtendedLifetime(descriptor) {}
        }
    }
}

extension UnixSignal {
    /// Ends a process at once.
    public static let kill = UnixSignal(rawValue: SIGKILL)
    /// Suspends a process: a worker that is hangs.
    public static let stop = UnixSignal(rawValue: SIGSTOP)
    /// Lets a suspended process go on.
    public static let `continue` = UnixSignal(rawValue: SIGCONT)
}
