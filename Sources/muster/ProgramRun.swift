// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterCommand
import MusterCompare
import MusterPlatform
import MusterSupervision

/// What is run, and for how long.
struct ProgramPlan {
    let program: [String]
    let setBackend: [String]
    let variables: [String]
    let load: String?
    let url: String
    let endpoint: String?
    let duration: Duration
    let warmUp: Duration
    let startTimeout: Duration
    let stopTimeout: Duration
    let killsWorker: Bool
}

/// One run of the program under one side: start, warm-up, measurement, end. Whatever happens, no process is left.
final class ProgramRun {
    /// Why a run has come to nothing.
    enum Problem: Error, CustomStringConvertible {
        case interrupted
        case noProgram(String, reason: String)
        case ended(side: String, status: String, during: String, log: String)
        case noEndpoint(side: String, seconds: String, log: String)
        case notReady(side: String, seconds: String, found: String)
        case noMetrics(String)
        case loadFailed(command: String, status: String, log: String)
        case system(String)

        var description: String {
            switch self {
            case .interrupted: "interrupted"
            case .noProgram(let name, let reason): "cannot start '\(name)': \(reason)"
            case .ended(let side, let status, let during, let log):
                "the program ended during \(during) as \(side), \(status)\(Self.quoted(log))"
            case .noEndpoint(let side, let seconds, let log):
                """
                no endpoint as \(side): the program runs, but for \(seconds) nothing answered where \
                MUSTER_ENDPOINT_ADDRESS says; does it serve Muster's endpoint, and does it read that variable? \
                --endpoint names another place\(Self.quoted(log))
                """
            case .notReady(let side, let seconds, let found):
                "the program did not get ready within \(seconds) as \(side): /readyz says\(Self.quoted(found))"
            case .noMetrics(let reason): "the endpoint's metrics cannot be read: \(reason)"
            case .loadFailed(let command, let status, let log):
                "the load '\(command)' failed, \(status)\(Self.quoted(log))"
            case .system(let reason): reason
            }
        }

        private static func quoted(_ log: String) -> String {
            let lines = log.split(whereSeparator: \.isNewline).suffix(5)
            return lines.isEmpty ? "" : ":\n" + lines.map { "  \($0)" }.joined(separator: "\n")
        }
    }

    /// What a run has come to.
    struct Result {
        var blocks: [Block] = []
        /// The metrics at the end of the measurement.
        var last = Snapshot()
        var restarts: [String: Int] = [:]
        var healthFlaps = 0
        /// The share of the processors that was busy, and the program's own.
        var busy = 0.0
        var own = 0.0
        var loadTool: String?
    }

    private let plan: ProgramPlan
    private let side: String
    private let signals: WatchSignals
    private let say: (String) -> Void
    private let folder: String
    private let port: UInt16
    private let client = CurlClient(
        access: Access(user: nil, password: nil, caFile: nil, certificate: nil, key: nil, isInsecure: false),
        limit: .seconds(10), largest: 64 << 20)
    /// The precise one where the endpoint has it.
    private let formats: (precise: any ExpositionFormat, text: any ExpositionFormat) = (
        ProtobufExposition(), TextExposition()
    )
    private let target: StatusTarget
    /// All of them until the end, so that each has an identity of its own.
    private var children: [ChildProcess] = []
    private let notices: NotificationSocket
    /// Whether the program has used it.
    private var speaks = false
    /// Its other end is this process' alone, so that it ends with it, however that dies.
    private let lifeline: (read: OwnedDescriptor, write: OwnedDescriptor)

    init(_ plan: ProgramPlan, side: String, signals: WatchSignals, say: @escaping (String) -> Void) throws {
        self.plan = plan
        self.side = side
        self.signals = signals
        self.say = say
        // The path of a socket has 107 characters at most.
        let parent = Environment.value("TMPDIR").flatMap { $0.utf8.count < 70 ? $0 : nil } ?? "/tmp"
        var template = Array("\(parent)/muster-compare-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Problem.system("\(SystemError("mkdtemp"))") }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        port = try Self.freePort()
        target = try StatusTarget(parsing: plan.endpoint ?? "unix:\(folder)/endpoint")
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Problem.system("\(SystemError("pipe"))") }
        lifeline = (OwnedDescriptor(ends[0]), OwnedDescriptor(ends[1]))
        do {
            notices = try NotificationSocket(path: "\(folder)/notify")
        } catch {
            throw Problem.system("\(folder)/notify: \(error)")
        }
    }

    deinit {
        for child in children { child.killGroup() }
        for name in ["endpoint", "notify", "program", "load", "log"] { unlink("\(folder)/\(name)") }
        rmdir(folder)
    }

    /// Runs it.
    ///
    /// - Throws: ``Problem``.
    func result() throws -> Result {
        say("starting")
        let begun = MonotonicInstant.now
        let program = try start()
        do {
            let startSeconds = begun.duration(to: try whenReady(program, since: begun)).inSeconds
            var result = try measure(program)
            if !result.blocks.isEmpty { result.blocks[0].gauges["start_seconds"] = startSeconds }
            if plan.killsWorker, let seconds = try restartSeconds(program), !result.blocks.isEmpty {
                result.blocks[0].gauges["restart_seconds"] = seconds
            }
            end(program)
            return result
        } catch {
            end(program)
            throw error
        }
    }

    // MARK: Processes

    private func start() throws -> ChildProcess {
        let name = plan.program[0]
        guard let path = Self.find(name) else {
            let reason = access(name, F_OK) == 0 ? "it may not be executed" : "there is no such program"
            throw Problem.noProgram(name, reason: reason)
        }
        var environment = ProcessEnvironment.inherited
        environment["MUSTER_ENDPOINT_ADDRESS"] = "unix:\(folder)/endpoint"
        environment["NOTIFY_SOCKET"] = "\(folder)/notify"
        for entry in plan.setBackend.map({ filled($0, "{}", side) }) + plan.variables.map(filled) {
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            environment[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
        }
        return try spawn([path] + plan.program.dropFirst().map(filled), output: "program", environment)
    }

    private func spawn(_ words: [String], output: String, _ environment: ProcessEnvironment) throws -> ChildProcess {
        // The shell leaves the program its place, with its output in a file. A guard, which is in the program's group
        // but is not its child, ends the group when this process has died without doing so.
        let script = """
            ( ( trap '' HUP INT TERM; read -r _ <&3; rm -rf "${0%/*}"; kill -KILL 0 ) & ) </dev/null >/dev/null 2>&1
            exec "$@" 3<&- </dev/null >"$0" 2>&1
            """
        do {
            let child = try ChildProcess.spawn(
                SpawnRequest(
                    executable: "/bin/sh", title: "sh", arguments: ["-c", script, "\(folder)/\(output)"] + words,
                    environment: environment, descriptors: [lifeline.read.rawValue]))
            children.append(child)
            return child
        } catch {
            throw Problem.noProgram(words[0], reason: "\(error)")
        }
    }

    /// Ends a process and all of its group: gracefully, if it does so in time.
    private func end(_ child: ChildProcess) {
        say("ending")
        child.send(SIGTERM)
        // A second signal of the user's makes it fast.
        _ = wait(for: child, until: MonotonicInstant.now.advanced(by: plan.stopTimeout))
        child.killGroup()
        let last = MonotonicInstant.now.advanced(by: .seconds(5))
        while wait(for: child, until: last) {}
    }

    /// Waits for the end of a process, for so long at most. Returns whether the user wants an end before that.
    private func wait(for child: ChildProcess, until limit: MonotonicInstant) -> Bool {
        while status(of: child) == nil {
            let left = MonotonicInstant.now.duration(to: limit)
            guard left > .zero else { return false }
            // Where the system has no descriptor of the process, it is asked for now and then.
            let pause = child.descriptor == nil ? min(left, .milliseconds(10)) : left
            if signals.wait(for: pause, orReadable: [child.descriptor?.rawValue ?? -1]) == .ended { return true }
        }
        return false
    }

    private var ends: [ObjectIdentifier: String] = [:]

    /// How a process has ended; `nil` while it runs.
    private func status(of child: ChildProcess) -> String? {
        if let known = ends[ObjectIdentifier(child)] { return known }
        while let event = child.poll() {
            guard case .exited(let exit) = event else { continue }
            let text =
                switch exit.termination {
                case .exited(let code): "with exit code \(code)"
                case .signaled(let signal): "by signal \(signal)"
                }
            ends[ObjectIdentifier(child)] = text
            return text
        }
        return nil
    }

    /// When the program was ready: when it said so, as Muster does by sd_notify(3) once every worker is, and `/readyz`
    /// passed. A program that does not say it is asked, for each question costs it something.
    private func whenReady(_ program: ChildProcess, since begun: MonotonicInstant) throws -> MonotonicInstant {
        let seconds = plan.startTimeout.text
        var found: String?
        var said: MonotonicInstant?
        var passed: MonotonicInstant?
        var hasFailedSince = false
        while true {
            if let status = status(of: program) {
                throw Problem.ended(side: side, status: status, during: "its start", log: log("program"))
            }
            if notices.receive().contains("READY=1") { said = said ?? .now }
            if passed == nil {
                if case .success(let answer) = get("/readyz") {
                    if answer.status == 200 { passed = hasFailedSince ? .now : said ?? .now }
                    found = String(decoding: answer.body.prefix(2000), as: UTF8.self)
                }
                hasFailedSince = said != nil
            }
            let elapsed = begun.duration(to: .now)
            if let passed {
                if let said {
                    speaks = true
                    return max(said, passed)
                }
                // One that speaks would have done it by now.
                if elapsed > begun.duration(to: passed) * 2 + .milliseconds(100) { return passed }
            } else if elapsed > plan.startTimeout {
                if let found { throw Problem.notReady(side: side, seconds: seconds, found: found) }
                throw Problem.noEndpoint(side: side, seconds: seconds, log: log("program"))
            }
            try rest(Self.pause(after: elapsed), orReadable: notices.descriptor, program.descriptor)
        }
    }

    /// How long not to ask again: a tenth of the time that is measured.
    private static func pause(after elapsed: Duration) -> Duration { max(.milliseconds(10), elapsed / 10) }

    /// Waits, unless the user ends it; or until one of the descriptors is readable.
    private func rest(_ duration: Duration, orReadable others: OwnedDescriptor?...) throws {
        let end = MonotonicInstant.now.advanced(by: duration)
        while true {
            let left = max(.zero, MonotonicInstant.now.duration(to: end))
            switch signals.wait(for: left, orReadable: others.map { $0?.rawValue ?? -1 }) {
            case .due: return
            case .ended: throw Problem.interrupted
            case .suspended: kill(getpid(), SIGSTOP)
            case .resized: break
            }
        }
    }

    // MARK: Measuring

    private func measure(_ program: ChildProcess) throws -> Result {
        var result = Result()
        if plan.warmUp > .zero {
            say("warming up")
            let load = try startLoad(for: plan.warmUp)
            try rest(plan.warmUp)
            if let load { end(load) }
            // Some tools append to it.
            unlink("\(folder)/log")
        }
        let load = try startLoad(for: plan.duration)
        let count = max(2, min(12, Int(plan.duration.inSeconds / 0.5)))
        let begun = MonotonicInstant.now
        let first = try snapshot()
        let system = SystemLoad.now
        var before = (at: begun, metrics: first, switches: ProcessTree(program.pid).contextSwitches)
        var tree = ProcessTree(program.pid)
        let ownBefore = tree.cpuSeconds
        for index in 1...count {
            say(
                "measuring, \(Int(plan.duration.inSeconds * Double(index - 1) / Double(count))) s of \(plan.duration.text)"
            )
            let until = begun.advanced(by: .seconds(plan.duration.inSeconds * Double(index) / Double(count)))
            try rest(max(.zero, MonotonicInstant.now.duration(to: until)))
            if let status = status(of: program) {
                throw Problem.ended(side: side, status: status, during: "the measurement", log: log("program"))
            }
            let metrics = try snapshot()
            let now = MonotonicInstant.now
            tree = ProcessTree(program.pid)
            var block = metrics.block(since: before.metrics, seconds: before.at.duration(to: now).inSeconds)
            if let pss = tree.pss { block.gauges["pss_bytes"] = pss }
            let switches = tree.contextSwitches
            block.increases["context_switches"] = max(0, switches - before.switches)
            result.blocks.append(block)
            result.healthFlaps += metrics.gauges.count { series, value in
                series.name == "muster_health_check_status"
                    && before.metrics.gauges[series].map { $0 != value } ?? false
            }
            before = (now, metrics, switches)
        }
        let seconds = begun.duration(to: .now).inSeconds
        result.busy = SystemLoad.now.busy(since: system)
        result.own = (tree.cpuSeconds - ownBefore) / seconds / Double(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        result.last = before.metrics
        for (series, value) in before.metrics.counters where series.name == "muster_worker_restarts_total" {
            let count = Int(value - (first.counters[series] ?? 0))
            if count > 0 { result.restarts[series.labels["reason"] ?? "unknown", default: 0] += count }
        }
        if let load { try finish(load, &result) }
        return result
    }

    private func startLoad(for duration: Duration) throws -> ChildProcess? {
        guard let command = plan.load else { return nil }
        let words = ["/bin/sh", "-c", loadCommand(command, duration)]
        return try spawn(words, output: "load", .inherited)
    }

    private func loadCommand(_ command: String, _ duration: Duration) -> String {
        let seconds = "\(max(1, Int(duration.inSeconds.rounded(.up))))"
        return filled(
            filled(filled(filled(command, "{url}", plan.url), "{log}", "\(folder)/log"), "{seconds}", seconds))
    }

    private func finish(_ load: ChildProcess, _ result: inout Result) throws {
        say("waiting for the load")
        if wait(for: load, until: MonotonicInstant.now.advanced(by: .seconds(15))) { throw Problem.interrupted }
        let isOver = status(of: load)
        let output = log("load")
        if let isOver, isOver != "with exit code 0", LoadResult(output: output) == nil {
            throw Problem.loadFailed(command: loadCommand(plan.load ?? "", plan.duration), status: isOver, log: output)
        }
        if isOver == nil { end(load) }
        if var found = LoadResult(output: output) {
            if let text = SmallFile.beginning(of: "\(folder)/log", limit: 64 << 20) { found.add(h2loadLog: text) }
            result.loadTool = found.tool
            if !result.blocks.isEmpty { result.blocks[0].gauges.merge(found.gauges) { $1 } }
        }
        unlink("\(folder)/log")
    }

    /// How long it takes until a killed worker is replaced by one that is ready; `nil` without workers.
    private func restartSeconds(_ program: ChildProcess) throws -> Double? {
        func restarts(_ metrics: Snapshot) -> Double {
            metrics.sum("muster_worker_restarts_total", ["reason": "signal"])
        }
        func ready(_ metrics: Snapshot) -> Double { metrics.sum("muster_workers", ["state": "ready"]) }
        let before = try snapshot()
        guard ready(before) > 0, case .success(let answer) = client.fetch(target, interruptedBy: nil),
            let worker = answer.firstWorker
        else { return nil }
        say("killing a worker")
        _ = notices.receive()
        let begun = MonotonicInstant.now
        kill(worker, SIGKILL)
        // A program that speaks says how many of its workers are ready whenever that changes.
        var said: MonotonicInstant?
        while true {
            let elapsed = begun.duration(to: .now)
            guard elapsed < .seconds(10) else { return nil }
            let pause = speaks && said == nil ? .seconds(1) : Self.pause(after: elapsed)
            try rest(pause, orReadable: notices.descriptor)
            let now = MonotonicInstant.now
            if !notices.receive().isEmpty { said = now }
            let metrics = try snapshot()
            if restarts(metrics) > restarts(before), ready(metrics) >= ready(before) {
                return begun.duration(to: said ?? now).inSeconds
            }
        }
    }

    private func snapshot() throws -> Snapshot {
        switch get("/metrics", accept: "\(formats.precise.accept), \(formats.text.accept);q=0.5") {
        case .success(let answer) where answer.status == 200:
            do {
                let isPrecise = ProtobufExposition.isUsed(in: answer.body)
                return try (isPrecise ? formats.precise : formats.text).read(answer.body)
            } catch {
                throw Problem.noMetrics("\(error)")
            }
        case .success(let answer): throw Problem.noMetrics("HTTP status \(answer.status)")
        case .failure(.interrupted): throw Problem.interrupted
        case .failure(let failure): throw Problem.noMetrics(failure.message(for: target))
        }
    }

    private func get(_ path: String, accept: String? = nil) -> Swift.Result<CurlClient.Answer, FetchFailure> {
        let url = String(target.url.dropLast("/status".count)) + path
        return client.fetch(
            CurlClient.Request(url: url, socketPath: target.socketPath, isLocal: target.isLocal, accept: accept),
            interruptedBy: nil)
    }

    // MARK: Parts

    private func log(_ name: String) -> String { SmallFile.beginning(of: "\(folder)/\(name)", limit: 1 << 20) ?? "" }

    private func filled(_ text: String) -> String { filled(text, "{port}", "\(port)") }

    private func filled(_ text: String, _ place: String, _ value: String) -> String {
        text.replacing(place, with: value)
    }

    private static func find(_ name: String) -> String? {
        if name.contains("/") { return access(name, X_OK) == 0 ? name : nil }
        let folders = (Environment.value("PATH") ?? "/usr/bin:/bin").split(separator: ":")
        return folders.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    /// A port of the loopback interface that is free now.
    private static func freePort() throws -> UInt16 {
        do {
            let socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "port")
            defer { socket.closeDescriptor() }
            if case .tcp(_, let port) = socket.address { return port }
        } catch {
            throw Problem.system("no free port: \(error)")
        }
        throw Problem.system("no free port")
    }
}

/// Where a program says by sd_notify(3) how it is.
private final class NotificationSocket {
    let descriptor: OwnedDescriptor

    init(path: String) throws(SystemError) {
        let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let socket = socket(AF_UNIX, type, 0)
        guard socket >= 0 else { throw SystemError("socket") }
        descriptor = OwnedDescriptor(socket)
        guard UnixSocketAddress.with(path.utf8, { bind(socket, $0, $1) }) == 0 else { throw SystemError("bind") }
    }

    /// The lines of the messages that have come since.
    func receive() -> [String] {
        var lines: [String] = []
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor.rawValue, &bytes, bytes.count, 0)
            guard count > 0 else { return lines }
            lines += String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
        }
    }
}
