// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import MusterEndpoint
import MusterExecution
import MusterHealth
import MusterMetrics
import MusterPlatform

/// Does what a console is asked for. It reads what there is without waiting for anything; what only a worker knows is asked
/// of the workers.
final class ConsoleHost: Sendable {
    /// The series of a worker.
    struct Reader: Sendable {
        var group: String
        var slot: Int
        var series: any SeriesReader
    }

    /// What differs between a supervisor, a program of one process, and a worker with a console of its own.
    struct Dependencies: Sendable {
        var status: any StatusSource
        var health: HealthRegistry
        var exposition: Exposition
        var settings: @Sendable () -> MusterSettings
        var readers: @Sendable () -> [Reader]
        var reload: @Sendable () -> Void
        var stop: @Sendable () -> Void
        /// `nil` where there are no workers.
        var scale: (@Sendable (_ group: String, _ workers: Int) -> ConsoleAnswer)?
        var replace: (@Sendable (_ worker: String) -> ConsoleAnswer)?
        /// Asks the workers; `nil` where this process is the only one.
        var relay: ConsoleRelay?
        /// What this process is called in replies, and what it answers as a worker.
        var name: String
        var worker: ConsoleWorker
        /// The processes that a target means, for a look at their threads.
        var inspected: @Sendable (_ target: String?) -> [InspectedProcess]
    }

    /// The most lines of a reply that is no table.
    private static let mostLines = 20_000

    private let dependencies: Dependencies
    private let logger: Logger

    init(_ dependencies: Dependencies, logger: Logger) {
        self.dependencies = dependencies
        self.logger = logger
    }

    /// Answers a request. On the console's thread.
    func respond(
        to request: ConsoleRequest, of peer: ConsolePeer, on loop: EventLoop,
        complete: @escaping @Sendable (ConsoleAnswer) -> Void
    ) {
        if request.isAction {
            logger.notice(
                "console command",
                metadata: [
                    "command": "\(request.line)", "peer_uid": "\(peer.uid)",
                    "peer_pid": "\(peer.pid.map { "\($0)" } ?? "unknown")",
                ])
        }
        if request.command.name == "log-level", let refusal = ConsoleWorker.setLogLevel(request) {
            return complete(refusal)
        }
        if ConsoleInspection.commands.contains(request.command.name) {
            let processes = dependencies.inspected(request.target)
            return ConsoleInspection.answer(request, of: processes, complete: complete)
        }
        switch request.command.place {
        case .supervisor:
            complete(answer(request))
            // Once the reply is written: the process may be gone a moment later.
            if request.command.name == "stop" { loop.submit(dependencies.stop) }
        case .worker:
            guard let relay = dependencies.relay else { return answerHere(request, complete) }
            relay.ask(request, own: [], on: loop, complete: complete)
        case .everywhere:
            guard let relay = dependencies.relay else { return answerHere(request, complete) }
            let own = (dependencies.name, dependencies.worker.answer(request))
            relay.ask(request, own: [own], on: loop, complete: complete)
        }
    }

    /// Answers as a worker, on a thread of its own: it may take its time.
    private func answerHere(_ request: ConsoleRequest, _ complete: @escaping @Sendable (ConsoleAnswer) -> Void) {
        let (name, worker) = (dependencies.name, dependencies.worker)
        if let target = request.target, target != name, !name.hasPrefix("\(target)/") {
            return complete(.noWorker(target))
        }
        do throws(SystemError) {
            try NativeThread.start(name: ConsoleServer.threadName) {
                var merge = ConsoleMerge(workers: [name])
                merge.add(worker.answer(request), of: name)
                complete(merge.answer)
            }
        } catch {
            complete(ConsoleAnswer(.failed, "\(error)"))
        }
    }

    private func answer(_ request: ConsoleRequest) -> ConsoleAnswer {
        if request.isAction, request.command.name != "stop", dependencies.status.look().isStopping {
            return ConsoleAnswer(.failed, "the program is stopping")
        }
        switch request.command.name {
        case "workers": return workers(request.target)
        case "groups": return groups
        case "loops": return loops(request.target)
        case "pools": return pools(request.target)
        case "metrics": return metrics(request.argument(0) ?? "")
        case "health": return health
        case "settings": return settings(request.argument(0) ?? "")
        case "reload":
            dependencies.reload()
            return ConsoleAnswer(.ok, "reloading")
        case "stop": return ConsoleAnswer(.ok, "stopping")
        case "scale":
            guard let scale = dependencies.scale else { return .noWorkers }
            guard let workers = Int(request.arguments[1]), (0...10_000).contains(workers) else {
                return ConsoleAnswer(.usage, "scale GROUP N: N is a number from 0 to 10000")
            }
            return scale(request.arguments[0], workers)
        case "replace":
            guard let replace = dependencies.replace else { return .noWorkers }
            return replace(request.arguments[0])
        case "commands": return ConsoleCommand.answer()
        case "help": return ConsoleCommand.answer(only: request.argument(0))
        default: return ConsoleAnswer(.failed, "not available")
        }
    }

    // MARK: What there is

    private func workers(_ target: String?) -> ConsoleAnswer {
        let report = dependencies.status.look().report
        let now = report.at
        let rows = report.workers.filter { ConsoleRelay.matches(target, $0.group, $0.slot) }.map { worker in
            [
                .text("\(worker.group)/\(worker.slot)"), .text(worker.state.rawValue), ConsoleCell(worker.process?.pid),
                ConsoleCell(worker.backend), ConsoleCell(worker.process?.startedAt.map { max(0, now - $0) }),
                ConsoleCell(worker.restartCount), ConsoleCell(worker.lastRestartReason),
                ConsoleCell(worker.process?.threads), ConsoleCell(worker.jobs), ConsoleCell(worker.process?.cpuSeconds),
                ConsoleCell(worker.process?.residentMemoryBytes), ConsoleCell(worker.heartbeatAgeSeconds),
            ]
        }
        if rows.isEmpty, let target { return .noWorker(target) }
        let omitted = report.omitted.workers
        return ConsoleAnswer(
            ConsoleTable(
                [
                    .init("worker"), .init("state"), .init("pid"), .init("backend"), .init("uptimeSeconds", .seconds),
                    .init("restarts"), .init("reason"), .init("threads"), .init("jobs"), .init("cpuSeconds", .seconds),
                    .init("memoryBytes", .bytes), .init("heartbeatAgeSeconds", .seconds),
                ], rows: rows), omitted > 0 ? "\(PlainText.count(omitted, "worker")) more" : nil)
    }

    private var groups: ConsoleAnswer {
        ConsoleAnswer(
            ConsoleTable(
                [
                    .init("group"), .init("wanted"), .init("ready"), .init("spares"), .init("restarts"),
                    .init("tooOften"),
                ],
                rows: dependencies.status.look().report.groups.map { group in
                    [
                        .text(group.name), ConsoleCell(group.wantedWorkers), ConsoleCell(group.readyWorkers),
                        ConsoleCell(group.readySpares), ConsoleCell(group.restarts),
                        group.restartsTooOften ? "yes" : "no",
                    ]
                }))
    }

    private func readers(_ target: String?) -> [Reader]? {
        let readers = dependencies.readers().filter { ConsoleRelay.matches(target, $0.group, $0.slot) }
        return readers.isEmpty && target != nil ? nil : readers
    }

    private func loops(_ target: String?) -> ConsoleAnswer {
        guard let readers = readers(target) else { return .noWorker(target ?? "") }
        var collector = StatusCollector()
        var report = StatusReport(
            at: WallClock.secondsSinceEpoch, name: "", mode: .process, version: MusterVersion.status,
            process: ProcessStatus(pid: getpid()))
        for reader in readers {
            var worker = WorkerStatus(group: reader.group, slot: reader.slot, state: .ready)
            collector.add(reader.series, limit: StatusFamilies.seriesLimit(workers: readers.count), to: &worker)
        }
        collector.fill(&report)
        let rows = report.loops.map { loop in
            [
                .text(loop.group), .text(loop.name), .text(loop.backend), ConsoleCell(loop.workers),
                loop.intervalSeconds.map { .number($0) } ?? ConsoleCell(loop.schedule),
                ConsoleCell(loop.runs), ConsoleCell(loop.failures),
                ConsoleCell(loop.overruns), ConsoleCell(loop.skipped), ConsoleCell(loop.latenessP99Seconds),
                ConsoleCell(loop.driftSeconds), ConsoleCell(loop.lastRunAt.map { report.at - $0 }),
                ConsoleCell(loop.nextRunAt.map { $0 - report.at }),
            ]
        }
        let omitted = report.omitted.loops
        return ConsoleAnswer(
            ConsoleTable(
                [
                    .init("group"), .init("loop"), .init("backend"), .init("workers"),
                    .init("intervalSeconds", .seconds), .init("runs"), .init("failures"), .init("overruns"),
                    .init("skipped"), .init("latenessP99Seconds", .seconds), .init("driftSeconds", .seconds),
                    .init("lastRunAgoSeconds", .seconds), .init("nextRunInSeconds", .seconds),
                ], rows: rows), omitted > 0 ? "\(PlainText.count(omitted, "loop")) more" : nil)
    }

    /// The columns of a pool by the families that they come from.
    private static let poolFamilies: [String: (pool: String?, column: Int)] = [
        "muster_job_threads": ("job threads", 0),
        "muster_blocking_pool_threads": ("blocking work", 0), "muster_blocking_pool_threads_busy": ("blocking work", 1),
        "muster_blocking_pool_threads_limit": ("blocking work", 2),
        "muster_blocking_pool_queue_length": ("blocking work", 3),
        "muster_threadgroup_threads": (nil, 0), "muster_threadgroup_threads_limit": (nil, 2),
        "muster_threadgroup_queue_length": (nil, 3), "muster_threadgroup_timers": (nil, 4),
    ]

    private func pools(_ target: String?) -> ConsoleAnswer {
        guard let readers = readers(target) else { return .noWorker(target ?? "") }
        var rows: [[ConsoleCell]] = []
        for reader in readers {
            var pools: [String: [ConsoleCell]] = [:]
            for reading in reader.series.read(Set(Self.poolFamilies.keys), limit: 1000) {
                guard let (pool, column) = Self.poolFamilies[reading.family], let number = reading.number else {
                    continue
                }
                let name = pool ?? "group \(reading["group"] ?? "")"
                pools[name, default: Array(repeating: .none, count: 5)][column] = .number(number)
            }
            rows += pools.sorted { $0.key < $1.key }.map { name, cells in
                [.text("\(reader.group)/\(reader.slot)"), .text(name)] + cells
            }
        }
        return ConsoleAnswer(
            ConsoleTable(
                [
                    .init("worker"), .init("pool"), .init("threads"), .init("busy"), .init("limit"), .init("queue"),
                    .init("timers"),
                ], rows: rows))
    }

    private func metrics(_ prefix: String) -> ConsoleAnswer {
        let lines = dependencies.exposition.rendered(.text).split(separator: UInt8(ascii: "\n")).lazy.filter { line in
            let isMetadata = line.starts(with: "# HELP ".utf8) || line.starts(with: "# TYPE ".utf8)
            return line.dropFirst(isMetadata ? 7 : 0).starts(with: prefix.utf8)
        }
        var answer = ConsoleAnswer(lines: lines.prefix(Self.mostLines).map { String(decoding: $0, as: UTF8.self) })
        let count = answer.lines?.count ?? 0
        if count == 0 { return ConsoleAnswer(.failed, "no metric begins with '\(prefix)'") }
        if count == Self.mostLines { answer.message = "the first \(count) lines; ask for a longer prefix" }
        return answer
    }

    private var health: ConsoleAnswer {
        let health = dependencies.health.status
        let now = WallClock.secondsSinceEpoch
        return ConsoleAnswer(
            ConsoleTable(
                [.init("check"), .init("levels"), .init("state"), .init("ageSeconds", .seconds), .init("reason")],
                rows: health.checks.map { check in
                    [
                        .text(check.name), .text(check.levels.joined(separator: ",")), .text(check.state.rawValue),
                        ConsoleCell(check.foundAt.map { max(0, now - $0) }), ConsoleCell(check.reason),
                    ]
                }),
            "live \(health.live.rawValue), ready \(health.ready.rawValue), startup \(health.startup.rawValue)")
    }

    private func settings(_ prefix: String) -> ConsoleAnswer {
        let rows = dependencies.settings().inForce.filter {
            $0.key.hasPrefix(prefix) || $0.key.dropFirst("muster.".count).hasPrefix(prefix)
        }.map { setting -> [ConsoleCell] in [.text(setting.key), .text(setting.value), .text(setting.source)] }
        if rows.isEmpty { return ConsoleAnswer(.failed, "no setting begins with '\(prefix)'") }
        return ConsoleAnswer(ConsoleTable([.init("setting"), .init("value"), .init("source")], rows: rows))
    }
}

extension ConsoleAnswer {
    static func noWorker(_ target: String) -> ConsoleAnswer {
        ConsoleAnswer(.failed, "there is no worker or group '\(target)'")
    }

    static let noWorkers = ConsoleAnswer(.failed, "this process has no workers")
}

/// What a worker answers about itself.
struct ConsoleWorker: Sendable {
    /// The most jobs of an answer.
    private static let mostJobs = 1000

    /// `nil` in a supervisor, and before there is one.
    let backend: @Sendable () -> Backend?

    /// May take as long as the request's time limit.
    func answer(_ request: ConsoleRequest) -> ConsoleAnswer {
        switch request.command.name {
        case "jobs": jobs
        case "log-level": logLevels(request.argument(0))
        default: ConsoleAnswer(.failed, "not available")
        }
    }

    /// Answers a request of the supervisor's over a descriptor that came with it, on a thread of its own.
    func answer(_ line: String, over descriptor: OwnedDescriptor) {
        // Without a thread, closing the descriptor is the answer.
        try? NativeThread.start(name: ConsoleServer.threadName) {
            let answer: ConsoleAnswer
            do throws(ConsoleUsage) {
                answer = self.answer(try ConsoleRequest(line))
            } catch {
                answer = ConsoleAnswer(.usage, error.text)
            }
            descriptor.setTimeout(.seconds(5), SO_SNDTIMEO)
            var bytes = answer.encoded[...]
            while !bytes.isEmpty {
                let count = bytes.withUnsafeBytes {
                    send(descriptor.rawValue, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                bytes.removeFirst(count)
            }
        }
    }

    /// Sets the level of a label's loggers, if one is asked for: a supervisor's workers follow.
    ///
    /// - Returns: Why not.
    static func setLogLevel(_ request: ConsoleRequest) -> ConsoleAnswer? {
        guard let label = request.argument(0), let text = request.argument(1) else { return nil }
        if text == "default" {
            LogLevels.shared.reset(label)
            return nil
        }
        guard let level = Logger.Level(rawValue: text) else {
            let levels = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            return ConsoleAnswer(.usage, "log-level LABEL LEVEL: LEVEL is one of \(levels), or default")
        }
        do throws(LogLevels.Refusal) {
            try LogLevels.shared.set(level, for: label)
            return nil
        } catch {
            return ConsoleAnswer(.failed, "\(error)")
        }
    }

    /// The levels of this process' loggers: of a label, and of those below it.
    private func logLevels(_ label: String?) -> ConsoleAnswer {
        let all = label == nil || label == LogLevels.all
        let entries = LogLevels.shared.entries.filter { entry in
            all || entry.label == label || entry.label.hasPrefix("\(label ?? "").")
        }
        return ConsoleAnswer(
            ConsoleTable(
                [.init("label"), .init("level"), .init("usual")],
                rows: entries.map {
                    [.text($0.label), .text($0.level.rawValue), .text($0.usual.rawValue)]
                }))
    }

    private var jobs: ConsoleAnswer {
        guard let backend = backend() else { return ConsoleAnswer(.failed, "no backend is selected yet") }
        let jobs = backend.engine.ledger.jobs
        let shared = backend.engine.sharedLoop
        let now = MonotonicInstant.now
        let rows = jobs.prefix(Self.mostJobs).map { job -> [ConsoleCell] in
            let state = job.state
            let thread = job.loop?.thread
            let waits =
                switch state {
                case .queued: "its first turn"
                case .finished: "-"
                case .running, .stopping: Self.wait(of: job, thread, isShared: job.loop === shared, at: now)
                }
            return [
                .number(Double(job.id)), .text(job.name), ConsoleCell(job.group), .text(state.rawValue),
                .number(max(0, job.spawnedAt.duration(to: now).inSeconds)), ConsoleCell(thread?.identifier),
                .text(waits),
            ]
        }
        let left = jobs.count - rows.count
        return ConsoleAnswer(
            ConsoleTable(
                [
                    .init("job"), .init("name"), .init("group"), .init("state"), .init("ageSeconds", .seconds),
                    .init("thread"), .init("waits"),
                ], rows: rows), left > 0 ? "\(PlainText.count(left, "job")) more" : nil)
    }

    /// Where a job is, as far as its thread tells.
    private static func wait(
        of job: Job, _ thread: (identifier: Int32, isParked: Bool)?, isShared: Bool, at now: MonotonicInstant
    ) -> String {
        guard let thread else { return "unknown" }
        if thread.isParked { return "await" }
        let time = job.loop?.busyTime(at: now) ?? .zero
        let busy = PlainText.duration(time.inSeconds) ?? ""
        // Which of its jobs has the turn, a hub does not know; a short one is over by now.
        if isShared { return time < .milliseconds(10) ? "await" : "await or hub, busy for \(busy)" }
        let folder = "/proc/self/task/\(thread.identifier)"
        let place = SmallFile.beginning(of: "\(folder)/wchan", limit: 64) ?? ""
        if !place.isEmpty, place != "0" { return "blocked in \(place)" }
        return SmallFile.statFields(in: folder)?.first == "R" ? "running for \(busy)" : "blocked"
    }
}
