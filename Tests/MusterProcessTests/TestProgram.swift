// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestKit
import MusterTestSupport
import Synchronization

/// The program of the package for tests, run as processes: a supervisor and its workers.
///
/// It says what happens in lines on standard output, and takes commands over a socket.
final class TestProgram: Sendable {
    /// The program whose transcript belongs to what fails.
    @TaskLocal static var current: TestProgram?

    /// A line that a worker has said, for example `started test/0 4711 cooperative`.
    struct Line: Sendable {
        let what: String
        let worker: String
        let pid: Int32
        let rest: String

        init?(_ text: String) {
            let words = text.split(separator: " ")
            guard words.count >= 3, let pid = Int32(words[2]) else { return nil }
            what = String(words[0])
            worker = String(words[1])
            self.pid = pid
            rest = words.dropFirst(3).joined(separator: " ")
        }
    }

    /// Named by the environment, or what the same build has made.
    static let binary =
        ProcessInfo.processInfo.environment["MUSTER_TEST_PROGRAM"]
        ?? URL(fileURLWithPath: ProcessInfo.processInfo.arguments[0]).deletingLastPathComponent()
        .appendingPathComponent("muster-test-program").path

    let folder: TemporaryFolder
    let socketPath: String
    private let supervised: SupervisedProgram
    private var program: Program { supervised.program }
    private let hasFailed = Atomic<Bool>(false)

    private init(_ supervised: SupervisedProgram, folder: TemporaryFolder, socketPath: String) {
        self.supervised = supervised
        self.folder = folder
        self.socketPath = socketPath
    }

    /// Runs the program during a test, and ends all of its processes with it.
    nonisolated(nonsending) static func run<Result>(
        _ options: [String] = [], backend: String? = nil, environment: [String: String] = [:], wrapper: [String] = [],
        _ body: nonisolated(nonsending) (TestProgram) async throws -> Result
    ) async throws -> Result {
        await Places.shared.enter()
        defer { Places.shared.leave() }
        let folder = try TemporaryFolder()
        let socketPath = folder.path("s")
        let options = options + (backend.map { ["--backend=\($0)"] } ?? [])
        var arguments = ["--muster-endpoint-address=127.0.0.1:0", "--socket=unix:\(socketPath)"]
        // What comes later counts for the program, what comes first for the settings.
        arguments.removeAll { argument in
            options.contains { $0.split(separator: "=").first == argument.split(separator: "=").first }
        }
        // Files of the test's own have a name that is the same in all tests.
        let (trigger, settings) = (folder.path("trigger"), try folder.write("{}", to: "settings.json"))
        func resolved(_ text: String) -> String {
            text.replacingOccurrences(of: "TRIGGER", with: trigger)
                .replacingOccurrences(of: "SETTINGS", with: settings)
        }
        let command =
            wrapper + [Self.binary] + arguments + options.map(resolved) + [
                "--mark=\(folder.url.path)", "--end-with-input",
            ]
        return try await SupervisedProgram.run(
            command[0], Array(command.dropFirst()), environment: environment.mapValues(resolved)
        ) { supervised in
            let program = TestProgram(supervised, folder: folder, socketPath: socketPath)
            do {
                let result = try await $current.withValue(program) { try await body(program) }
                try await program.end()
                return result
            } catch {
                try? await program.end()
                throw error
            }
        }
    }

    /// Ends what is left, by number.
    private func end() async throws {
        program.end()
        _ = try await eventually("the end of all processes") {
            let left = processes
            for pid in left { Foundation.kill(pid, SIGKILL) }
            return left.isEmpty ? true : nil
        }
    }

    /// What it has said and logged, for people who look for what has failed.
    var transcript: String { program.look { "\($0)" } }

    /// Whether it is asked this for the first time: one transcript is enough.
    var isFirstFailure: Bool { !hasFailed.exchange(true, ordering: .relaxed) }

    // MARK: Its files

    /// Lets what is `@TRIGGER` in the options happen from now on.
    func pullTrigger() throws {
        _ = try folder.write("", to: "trigger")
    }

    func releaseTrigger() {
        try? FileManager.default.removeItem(atPath: folder.path("trigger"))
    }

    /// Writes the file that is `SETTINGS` in the options.
    func set(_ settings: String) throws {
        _ = try folder.write(settings, to: "settings.json")
    }

    // MARK: Processes

    /// The supervisor.
    var pid: Int32 { program.pid }

    /// The processes of the program that there are: each has the test's own folder in its arguments.
    var processes: [Int32] {
        let mark = Data(folder.url.path.utf8)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap(Int32.init).filter { pid in
            FileManager.default.contents(atPath: "/proc/\(pid)/cmdline")?.range(of: mark) != nil
        }
    }

    /// The process that the workers are forked from, if there is one just now.
    var forkServer: Int32? {
        processes.first { pid in
            FileManager.default.contents(atPath: "/proc/\(pid)/cmdline")?.range(of: Data(": fork-server".utf8)) != nil
        }
    }

    /// The processes that have their own title by now. The system suspends a supervisor whose new process is stopped
    /// before that, whatever it may be sent.
    var titledProcesses: [Int32] {
        let title = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline")
        return processes.filter { FileManager.default.contents(atPath: "/proc/\($0)/cmdline") != title }
    }

    func signal(_ number: Int32) { kill(pid, number) }

    /// Waits for the supervisor's end and returns its exit status, or 128 plus the signal.
    func status() async throws -> Int32 { try await program.status() }

    var isRunning: Bool { program.isRunning }

    /// Waits until no process of the program is left.
    func gone(within limit: Duration = .seconds(60)) async throws {
        _ = try await eventually("the end of all processes", within: limit) { processes.isEmpty ? true : nil }
    }

    // MARK: What it says

    /// Waits until workers have said something a number of times, and returns each of them.
    @discardableResult
    func said(_ what: String, _ count: Int = 1, by worker: String? = nil) async throws -> [Line] {
        try await program.wait(for: "'\(what)' \(count) times") { transcript in
            let lines = Self.lines(transcript, what, worker)
            return lines.count >= count ? lines : nil
        }
    }

    /// What workers have said so far.
    func lines(_ what: String, by worker: String? = nil) -> [Line] {
        program.look { Self.lines($0, what, worker) }
    }

    private static func lines(_ transcript: Transcript, _ what: String, _ worker: String?) -> [Line] {
        transcript.lines.compactMap(Line.init).filter { $0.what == what && (worker == nil || $0.worker == worker) }
    }

    /// Waits for the first line from an index on that says something, and returns what follows it, too.
    func next(_ what: String, from index: inout Int) async throws -> Line {
        let begin = index
        let (line, end) = try await program.wait(for: "'\(what)' after line \(begin)") { transcript -> (Line, Int)? in
            for number in begin..<max(begin, transcript.lines.count) {
                if let line = Line(transcript.lines[number]), line.what == what { return (line, number + 1) }
            }
            return nil
        }
        index = end
        return line
    }

    /// Waits until each of the workers has said that it has started, and returns the latest of each.
    @discardableResult
    func started(_ count: Int) async throws -> [Line] {
        var latest: [String: Line] = [:]
        for line in try await said("started", count) { latest[line.worker] = line }
        return latest.values.sorted { $0.worker < $1.worker }
    }

    /// Waits until every worker is ready, and returns where the endpoint and the socket are.
    @discardableResult
    func ready() async throws -> (url: String, socket: String) {
        try await program.wait(for: "'launcher ready'") { transcript in
            guard let line = transcript.lines.first(where: { $0.hasPrefix("launcher ready") }) else { return nil }
            let words = line.split(separator: " ").map(String.init)
            return words.count == 4 ? (words[2], words[3]) : nil
        }
    }

    /// Waits until something has been logged a number of times, and returns the lines.
    @discardableResult
    func logged(_ text: String..., count: Int = 1) async throws -> [String] {
        try await program.wait(for: "\(text) in the log") { transcript in
            let lines = Self.log(transcript, text)
            return lines.count >= count ? lines : nil
        }
    }

    /// What has been logged so far with these words in it.
    func log(_ text: String...) -> [String] {
        program.look { Self.log($0, text) }
    }

    private static func log(_ transcript: Transcript, _ text: [String]) -> [String] {
        transcript.errors.split(separator: "\n").map(String.init).filter { line in text.allSatisfy(line.contains) }
    }

    // MARK: Talking to it

    /// Sends a command to whichever worker takes it.
    ///
    /// - Returns: The worker's answer, or nothing when it has ended over it.
    @discardableResult
    func command(_ text: String) async throws -> String {
        let path = socketPath
        return try await onThread {
            let connection = try Connection(path: path)
            try connection.send("\(text)\n")
            guard let answer = try? connection.receiveAll() else { return "" }
            return String(decoding: answer, as: UTF8.self).trimmingCharacters(in: .newlines)
        }
    }

    /// Sends a command whose answer nobody waits for.
    func submit(_ text: String) throws -> Connection {
        let connection = try Connection(path: socketPath)
        try connection.send("\(text)\n")
        return connection
    }

    func get(_ path: String) async throws -> HTTPAnswer {
        try await HTTPAnswer.get(try await ready().url + path)
    }

    func metrics() async throws -> [MetricSample] { MetricSample.all(in: try await get("/metrics").body) }

    /// Waits until a metric has a value, which may take a turn of the supervisor's after what has been seen of it.
    func metric(_ name: String, _ labels: [String: String] = [:], is value: Double) async throws {
        try await supervised.until("\(name)\(labels) \(value)", { try await metrics().sum(name, labels) }) {
            $0.number == value
        }
    }
}
