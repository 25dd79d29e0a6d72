// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc

/// A supervisor with its workers, started by the benchmark: Muster's or the C program.
final class Supervised {
    /// How the C program starts a worker.
    enum Method: String {
        case spawn
        case fork
    }

    let pid: pid_t
    /// The workers in the order in which they were started.
    private(set) var workers: [pid_t] = []
    /// The endpoint's port, of Muster's supervisor.
    private(set) var port = 0
    private let spares: Int
    private let output: Int32
    private var isOver = false

    /// Starts this executable as a supervisor, and waits until every worker is ready.
    static func muster(_ program: SupervisedProgram) throws -> Supervised {
        try Supervised(
            path: "/proc/self/exe", arguments: ["muster-bench"] + program.arguments, workers: program.workers,
            spares: program.spares)
    }

    /// Starts the C program, which `make bench` puts beside this executable.
    static func reference(_ method: Method, workers: Int) throws -> Supervised {
        let path = try referencePath()
        return try Supervised(
            path: path, arguments: [path, method.rawValue, "\(workers)"], workers: workers, spares: 0)
    }

    private static func referencePath() throws -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = max(0, readlink("/proc/self/exe", &buffer, buffer.count))
        let own = String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
        let path = own[..<(own.lastIndex(of: "/") ?? own.startIndex)] + "/muster-bench-reference"
        guard access(String(path), X_OK) == 0 else {
            throw BenchmarkSkipped("it needs \(path), which `make bench` compiles")
        }
        return String(path)
    }

    private init(path: String, arguments: [String], workers: Int, spares: Int) throws {
        self.spares = spares
        var ends: [Int32] = [0, 0]
        guard cmusterbench_pipe(&ends) else { throw BenchmarkError("no pipe: errno \(errno)") }
        output = ends[0]
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        var arguments = arguments.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, path, &actions, nil, &arguments, environ)
        close(ends[1])
        self.pid = pid
        guard code == 0 else {
            isOver = true
            throw BenchmarkError("\(path) could not be started: errno \(code)")
        }
        while true {
            let record = try nextRecord()
            guard record.kind == .started else {
                port = Int(record.value)
                break
            }
            self.workers.append(pid_t(record.pid))
        }
        // The C program is up when its workers are on their way.
        while self.workers.count < workers { self.workers.append(pid_t(try nextRecord().pid)) }
        settle()
    }

    deinit {
        end()
        close(output)
    }

    private func nextRecord() throws -> SupervisionRecord {
        guard let record = SupervisionRecord(from: output) else {
            throw BenchmarkError("a supervisor or a worker does not answer")
        }
        return record
    }

    /// Lets the processes come to rest, so that one measurement does not pay for what the one before has left to do.
    private func settle() {
        usleep(20_000)
    }

    // MARK: Measuring

    /// Kills a worker.
    ///
    /// - Returns: Nanoseconds until its replacement's first line.
    func killWorker() throws -> Double {
        let spare = try parkedSpare()
        let start = cmusterbench_now()
        guard kill(workers[0], SIGKILL) == 0 else { throw BenchmarkError("a worker is gone") }
        let record = try nextRecord()
        workers[0] = pid_t(record.pid)
        if let spare, spare != workers[0] { throw BenchmarkError("a slot was not taken over by the warm spare") }
        settle()
        return Double(record.value - start)
    }

    /// Waits for the warm spare, if there is to be one, to sleep until it is needed.
    private func parkedSpare() throws -> pid_t? {
        guard spares > 0 else { return nil }
        for _ in 0..<1000 {
            let children = SystemFile.read("/proc/\(pid)/task/\(pid)/children").split(separator: " ")
            for child in children.compactMap({ pid_t($0) }) where !workers.contains(child) {
                guard ProcessFigures(pid: child).isSleepingSpare else { continue }
                // Until the supervisor has heard of it.
                settle()
                return child
            }
            usleep(5000)
        }
        throw BenchmarkError("there is no warm spare")
    }

    /// Asks the supervisor to end.
    ///
    /// - Returns: Nanoseconds until it has ended, which it does after its workers.
    func terminate() throws -> Double {
        let start = cmusterbench_now()
        kill(pid, SIGTERM)
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        let took = cmusterbench_now() - start
        isOver = true
        guard status == 0 else { throw BenchmarkError("a supervisor has ended with status \(status)") }
        for worker in workers where kill(worker, 0) == 0 {
            throw BenchmarkError("a worker has outlived its supervisor")
        }
        return Double(took)
    }

    /// Ends it without measuring.
    func end() {
        guard !isOver else { return }
        isOver = true
        kill(pid, SIGTERM)
        var status: Int32 = 0
        for _ in 0..<200 {
            let ended = waitpid(pid, &status, WNOHANG)
            if ended == pid || (ended < 0 && errno == ECHILD) { return }
            usleep(10_000)
        }
        kill(pid, SIGKILL)
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    }
}
