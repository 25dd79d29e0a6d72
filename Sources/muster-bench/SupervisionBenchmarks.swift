// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc
import Logging
import Muster
import MusterEndpoint
import MusterHealth
import MusterMetrics
import MusterPlatform
import MusterSupervision

extension Benchmark {
    private static let backends: [BackendType] = [.cooperative, .threading]

    static func restarts(_ effort: Effort) throws -> [Figure] {
        let spawning = try Supervised.reference(.spawn, workers: 1)
        let forking = try Supervised.reference(.fork, workers: 1)
        let cold = try backends.map { try Supervised.muster(SupervisedProgram(backend: $0, workers: 1)) }
        let warm = try backends.map { try Supervised.muster(SupervisedProgram(backend: $0, workers: 1, spares: 1)) }
        let spawned = try [0, 1].map {
            try Supervised.muster(
                SupervisedProgram(backend: .cooperative, workers: 1, spares: $0, startMethod: .spawn))
        }
        var hooked = SupervisedProgram(backend: .cooperative, workers: 1, spares: 1)
        hooked.hasHook = true
        let all = try [spawning, forking] + cold + warm + spawned + [Supervised.muster(hooked)]
        defer { for supervised in all { supervised.end() } }
        let times = try Rounds.run(
            effort(101, quick: 21), all.map { supervised in { try supervised.killWorker() } })
        let colds = backends.indices.map { index in
            Figure(
                "SIGKILL to the first line, \(backends[index])", in: .nanoseconds, times[2 + index],
                against: ("posix_spawn in C", times[0]), limit: .ratioAtMost(2))
        }
        let warms = backends.indices.map { index in
            Figure(
                "with a warm spare, \(backends[index])", in: .nanoseconds, times[2 + backends.count + index],
                against: ("fork in C", times[1]), limit: .ratioAtMost(1.2))
        }
        let others = [
            Figure(
                "SIGKILL to the first line, spawned", in: .nanoseconds, times[all.count - 3],
                against: ("posix_spawn in C", times[0])),
            Figure(
                "with a warm spare, spawned", in: .nanoseconds, times[all.count - 2], against: ("fork in C", times[1])),
            Figure(
                "with a warm spare and a default hook", in: .nanoseconds, times[all.count - 1],
                against: ("fork in C", times[1])),
        ]
        return colds + warms + others
    }

    static func starts(_ effort: Effort) throws -> [Figure] {
        let workers = 32
        let times = try backends.flatMap { backend in
            try Rounds.run(
                effort(15, quick: 5),
                [StartMethod.forkServer, .spawn].map { method in
                    {
                        let start = cmusterbench_now()
                        let supervised = try Supervised.muster(
                            SupervisedProgram(backend: backend, workers: workers, startMethod: method))
                        defer { supervised.end() }
                        return Double(supervised.upAt - start)
                    }
                })
        }
        return backends.indices.map { index in
            Figure(
                "\(workers) workers, until all are ready, \(backends[index])", in: .nanoseconds, times[2 * index],
                against: ("spawned", times[2 * index + 1]), limit: .ratioAtMost(0.5))
        }
    }

    static func stops(_ effort: Effort) throws -> [Figure] {
        let workers = 4
        let contenders: [() throws -> Supervised] =
            backends.map { backend in
                { try Supervised.muster(SupervisedProgram(backend: backend, workers: workers)) }
            } + [{ try Supervised.reference(.spawn, workers: workers) }]
        let times = try Rounds.run(
            effort(31, quick: 7),
            contenders.map { start in { try start().terminate() } } + [{ try contenders[0]().killAll() }])
        let reference = (name: "SIGTERM to the end in C", values: times[backends.count])
        return zip(backends, times).map { backend, values in
            Figure(
                "SIGTERM to the end, \(workers) workers, \(backend)", in: .nanoseconds, values, against: reference,
                limit: .ratioAtMost(3))
        } + [
            Figure(
                "SIGKILL of the workers and it to their end, \(backends[0])",
                in: .nanoseconds, times[backends.count + 1], against: reference)
        ]
    }

    static func idleWorkers(_ effort: Effort) throws -> [Figure] {
        let workers = 4
        let seconds = effort(20, quick: 5)
        let reference = try Supervised.reference(.spawn, workers: workers)
        let contenders = try backends.map { try Supervised.muster(SupervisedProgram(backend: $0, workers: workers)) }
        defer { for supervised in contenders + [reference] { supervised.end() } }
        // What follows the start is over then: threads without a job end after 10 s, and the supervisor's first look
        // at its workers comes after the limit for hangs, 10 s, too.
        sleep(15)
        let before = try contenders.map { try Activity(of: $0) }
        sleep(UInt32(seconds))
        let after = try contenders.map { try Activity(of: $0) }
        let bare = reference.workers.map { ProcessFigures(pid: $0) }
        return backends.indices.flatMap { index in
            let backend = backends[index]
            let processes = contenders[index].workers.map { ProcessFigures(pid: $0) }
            let threads = Set(processes.map(\.threads)).sorted().map { "\($0)" }.joined(separator: " or ")
            let (before, after) = (before[index], after[index])
            return [
                Figure(
                    "proportional memory of a worker, \(backend)", in: .bytes, processes.map(\.proportionalMemory),
                    against: ("a worker in C", bare.map(\.proportionalMemory)),
                    limit: .valueAtMost(2.2 * 1024 * 1024), note: "threads: \(threads)"),
                Figure(
                    "private dirty memory of a worker, \(backend)", in: .bytes, processes.map(\.privateDirtyMemory),
                    against: ("a worker in C", bare.map(\.privateDirtyMemory)), limit: .valueAtMost(450 * 1024)),
                Figure(
                    "proportional memory of their supervisor, \(backend)", in: .bytes,
                    [ProcessFigures(pid: contenders[index].pid).proportionalMemory],
                    limit: .valueAtMost(5 * 1024 * 1024)),
                Figure(
                    "wakings of \(workers) workers, \(seconds) s, \(backend)", in: .times,
                    [Double(after.workerWaits - before.workerWaits)], limit: .valueAtMost(0)),
                Figure(
                    "wakings of their supervisor, \(backend)", in: .times,
                    [Double(after.supervisorWaits - before.supervisorWaits)], limit: .valueAtMost(0)),
                Figure(
                    "processor time of all five, \(backend)", in: .nanoseconds,
                    [Double(after.processorTime - before.processorTime)], limit: .valueAtMost(1_000_000)),
            ]
        }
    }

    /// What a supervisor and its workers have done so far.
    private struct Activity {
        let workerWaits: Int
        let supervisorWaits: Int
        let processorTime: Int64

        init(of supervised: Supervised) throws {
            let workers = supervised.workers.map { ProcessFigures(pid: $0) }
            let supervisor = ProcessFigures(pid: supervised.pid)
            workerWaits = workers.reduce(0) { $0 + $1.waits }
            supervisorWaits = supervisor.waits
            processorTime = try (workers + [supervisor]).reduce(0) { try $0 + $1.processorTime }
        }
    }

    static func workerScrapes(_ effort: Effort) throws -> [Figure] {
        try LoadGenerator.requireInstalled()
        let workers = 4
        let series = 10_000
        let supervised = try Supervised.muster(
            SupervisedProgram(backend: .cooperative, workers: workers, series: series))
        defer { supervised.end() }
        let url = "http://127.0.0.1:\(supervised.port)/metrics"
        let body = try HTTPDocument.body(port: supervised.port, path: "/metrics")
        guard ExpositionLines(body).valueCount >= workers * series else { throw BenchmarkError("series are missing") }
        let server = try StaticServer(body: body)
        defer { server.stop() }
        let seconds = effort(2, quick: 1)
        let rounds = try Rounds.run(
            effort(5, quick: 2),
            [
                { try LoadGenerator.run(url: url, seconds: seconds) },
                { try LoadGenerator.run(url: server.url, seconds: seconds) },
                { try LoadGenerator.run(url: url, seconds: seconds, connections: 1) },
                { try LoadGenerator.run(url: server.url, seconds: seconds, connections: 1) },
            ])
        let reference = "the same bytes, static"
        return [
            try renderings(of: exposition(series: series, workers: workers), series: workers * series, effort),
            Figure(
                "/metrics of \(body.count / 1024) KiB", in: .perSecond, rounds[0].map(\.requestsPerSecond),
                against: (reference, rounds[1].map(\.requestsPerSecond)), limit: .ratioAtLeast(0.6)),
            Figure(
                "time of a scrape, one after the other", in: .nanoseconds, rounds[2].map(\.medianTime),
                against: (reference, rounds[3].map(\.medianTime)), limit: .ratioAtMost(2)),
        ]
    }
}

/// A document fetched once.
enum HTTPDocument {
    /// Its body.
    static func body(port: Int, path: String) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 16 << 20)
        let count = Int(cmusterbench_fetch(Int32(port), path, &bytes, bytes.count))
        let separator = Array("\r\n\r\n".utf8)
        // Headers are short.
        for start in 0..<min(max(0, count), 4096) where bytes[start...].starts(with: separator) {
            return Array(bytes[(start + separator.count)..<count])
        }
        throw BenchmarkError("no document \(path) from port \(port)")
    }
}

/// What the system tells of another process.
struct ProcessFigures {
    let pid: pid_t

    /// Its share of the memory in bytes: a page counts by how many processes share it.
    var proportionalMemory: Double { memory("Pss:") }

    /// The bytes that are its own and changed.
    var privateDirtyMemory: Double { memory("Private_Dirty:") }

    private func memory(_ field: String) -> Double {
        let lines = (SmallFile.beginning(of: "/proc/\(pid)/smaps_rollup") ?? "").split(separator: "\n")
        guard let words = lines.first(where: { $0.hasPrefix(field) })?.split(separator: " "), words.count > 1 else {
            return .nan
        }
        return (Double(words[1]) ?? .nan) * 1024
    }

    private var threadFolders: [String] {
        guard let folder = opendir("/proc/\(pid)/task") else { return [] }
        defer { closedir(folder) }
        var folders: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { name in
                String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { folders.append("/proc/\(pid)/task/\(name)") }
        }
        return folders
    }

    var threads: Int { threadFolders.count }

    /// How often its threads have begun to wait, as each does once more after a waking.
    var waits: Int {
        threadFolders.reduce(0) { total, folder in
            let lines = (SmallFile.beginning(of: folder + "/status") ?? "").split(separator: "\n")
            let line = lines.first { $0.hasPrefix("voluntary_ctxt_switches:") }
            return total + (line?.split(separator: "\t").last.flatMap { Int($0) } ?? 0)
        }
    }

    /// Its processor time in nanoseconds.
    var processorTime: Int64 {
        get throws {
            let time = cmusterbench_processor_time(pid)
            guard time > 0 else { throw BenchmarkError("process \(pid) is gone") }
            return time
        }
    }

    /// Whether it is a warm spare that waits.
    var isSleepingSpare: Bool {
        // proc_pid_stat(5): the state is behind the name in parentheses.
        let line = (SmallFile.beginning(of: "/proc/\(pid)/stat") ?? "")
        guard let end = line.lastIndex(of: ")") else { return false }
        return line[..<end].hasSuffix("/spare") && line[end...].dropFirst(2).hasPrefix("S")
    }
}

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
    /// When Muster's supervisor, or the last worker of the C program, was up.
    private(set) var upAt: Int64 = 0
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
        let path = try BesideThis.path(of: "muster-bench-reference")
        return try Supervised(
            path: path, arguments: [path, method.rawValue, "\(workers)"], workers: workers, spares: 0)
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
        upAt = cmusterbench_now()
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
            let children = (SmallFile.beginning(of: "/proc/\(pid)/task/\(pid)/children") ?? "").split(separator: " ")
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

    /// - Returns: Nanoseconds until it and its workers have ended, none of which does anything any more.
    func killAll() throws -> Double {
        let pids = workers + [pid]
        var ends = pids.map { pollfd(fd: cmusterbench_process_descriptor($0), events: Int16(POLLIN), revents: 0) }
        defer { for end in ends where end.fd >= 0 { close(end.fd) } }
        guard ends.allSatisfy({ $0.fd >= 0 }) else { throw BenchmarkError("there is no descriptor of a process") }
        let start = cmusterbench_now()
        for pid in pids { kill(pid, SIGKILL) }
        for index in ends.indices { while poll(&ends[index], 1, -1) < 0, errno == EINTR {} }
        let took = cmusterbench_now() - start
        isOver = true
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
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

/// What this executable is when it measures itself: a service under a supervisor, as anybody's would be.
struct SupervisedProgram {
    private static let marker = "--supervised"

    var backend: BackendType
    var workers: Int
    var spares = 0
    /// How many series each worker shows.
    var series = 0
    var startMethod = StartMethod.forkServer
    /// Whether a default hook chooses the backend, as soon as the slot is known, rather than the program at once.
    var hasHook = false

    init(
        backend: BackendType, workers: Int, spares: Int = 0, series: Int = 0, startMethod: StartMethod = .forkServer
    ) {
        self.startMethod = startMethod
        self.backend = backend
        self.workers = workers
        self.spares = spares
        self.series = series
    }

    /// Reads what ``arguments`` says; `nil` for the arguments of a benchmark.
    init?(arguments: [String]) {
        guard arguments.count == 8, arguments[1] == Self.marker else { return nil }
        backend = arguments[2] == "\(BackendType.threading)" ? .threading : .cooperative
        workers = Int(arguments[3]) ?? 1
        spares = Int(arguments[4]) ?? 0
        series = Int(arguments[5]) ?? 0
        startMethod = StartMethod(rawValue: arguments[6]) ?? .forkServer
        hasHook = arguments[7] == "hook"
    }

    /// The arguments after the program's name.
    var arguments: [String] {
        [
            Self.marker, "\(backend)", "\(workers)", "\(spares)", "\(series)", startMethod.rawValue,
            hasHook ? "hook" : "no-hook",
        ]
    }

    /// Supervises; in a worker, runs the service.
    func run() -> ExitStatus {
        LoggingSystem.bootstrap { _ in SwiftLogNoOpLogHandler() }
        let backend = backend
        var settings = MusterSettings(
            endpoint: EndpointConfiguration(address: .tcp(host: "127.0.0.1", port: 0)), logOptions: false)
        // A kill is followed by a new worker at once, each time.
        settings.restartBackoff = RestartBackoff(base: .zero, maximum: .zero)
        settings.restartIntensity = nil
        settings.startMethod = startMethod
        if series > 0 { settings.arenaCapacity = 16 << 20 }
        do {
            if hasHook { try Backend.registerDefaultHook { backend } } else { try Backend.initialize(backend) }
            let launcher = try ProcessLauncher(settings: settings, logger: Backends.silent)
            try launcher.launchService(
                TimedService(series: series), workers: workers, options: WorkerOptions(warmSpares: spares))
            launcher.whenReady {
                var port = 0
                if case .tcp(_, let served) = launcher.monitoring.address { port = Int(served) }
                SupervisionRecord(kind: .up, value: Int64(port)).send()
            }
            return launcher.wait()
        } catch {
            StandardError.print("muster-bench: \(error)")
            return .failure
        }
    }
}

/// What a supervised process tells the benchmark through its standard output. The C program writes the same.
struct SupervisionRecord: BitwiseCopyable {
    enum Kind: Int64 {
        /// A worker's first line; the value is its instant in nanoseconds.
        case started = 1
        /// Every worker is ready; the value is the endpoint's port.
        case up = 2
    }

    private var kindNumber: Int64
    private(set) var pid: Int64
    private(set) var value: Int64

    var kind: Kind? { Kind(rawValue: kindNumber) }

    init(kind: Kind, value: Int64) {
        kindNumber = kind.rawValue
        pid = Int64(getpid())
        self.value = value
    }

    /// Reads one from a pipe; `nil` at its end or when none comes within a few seconds.
    init?(from descriptor: Int32) {
        self.init(kind: .up, value: 0)
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, 10_000) == 1 else { return nil }
        let size = MemoryLayout<Self>.size
        // Records are shorter than what a pipe writes in one piece.
        guard withUnsafeMutableBytes(of: &self, { read(descriptor, $0.baseAddress, size) }) == size else { return nil }
    }

    func send() {
        _ = withUnsafeBytes(of: self) { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
    }
}

/// Tells when it is started, and does nothing else.
struct TimedService: ServiceBase {
    let name = "bench"
    let series: Int

    func start() async throws {
        let now = cmusterbench_now()
        SupervisionRecord(kind: .started, value: now).send()
        guard series > 0 else { return }
        try Benchmark.addSeries(series, to: .shared)
    }
}
