// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import Muster
import MusterCommand
import MusterCompare
import MusterPlatform

/// `muster compare run`
struct CompareRunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run a program under each backend in turn, and compare.",
        discussion: """
            Each round runs the program once under each side, in the order A B, B A, A B, …, so that a machine that \
            becomes slower or faster harms neither. Its endpoint is put at a Unix socket of its own. {port} stands for a \
            free port, in the program's arguments, in --env and in --load.

            Examples:
              muster compare run --duration 60s --rounds 5 -- ./mailer
              muster compare run --set-backend 'MAILER_BACKEND={}' -- ./mailer --listen 127.0.0.1:{port}
              muster compare run --load 'h2load --h1 -c 16 --rps 50 -D {seconds} --log-file={log} {url}' \\
                -- muster-demo --http 127.0.0.1:{port}
              muster compare run --load 'wrk -c 32 -d {seconds}s --latency {url}items' \\
                -- muster-demo --http 127.0.0.1:{port}

            Exit codes: as of muster compare; 130 when interrupted.
            """)

    @Option(help: ArgumentHelp("How long each run is measured.", valueName: "duration"))
    var duration: DurationArgument = "60s"

    @Option(help: ArgumentHelp("How often each side runs.", valueName: "n"))
    var rounds = 7

    @Option(help: ArgumentHelp("How long a run goes on before it is measured.", valueName: "duration"))
    var warmUp: DurationArgument = "5s"

    @Option(
        help: ArgumentHelp(
            "The variable that tells the program its backend; {} stands for its name. (default: MUSTER_BACKEND={})",
            valueName: "name={}"))
    var setBackend: [String] = []

    @Option(
        name: .customLong("env"),
        help: ArgumentHelp("A variable for both sides. Can be repeated.", valueName: "name=value"))
    var variables: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            A command that puts a load on the program: {url} stands for its URL, {port} for its port, {seconds} for the \
            duration, {log} for a file that h2load --log-file writes.
            """, valueName: "command"))
    var load: String?

    @Option(help: ArgumentHelp("What {url} stands for. (default: http://127.0.0.1:{port}/)", valueName: "url"))
    var url: String?

    @Option(
        help: ArgumentHelp(
            "Where the program's endpoint is, if it does not read MUSTER_ENDPOINT_ADDRESS.", valueName: "url"))
    var endpoint: String?

    @Option(help: ArgumentHelp("How long the program may take to get ready.", valueName: "duration"))
    var startTimeout: DurationArgument = "60s"

    @Option(help: ArgumentHelp("How long it may take to end before it is killed.", valueName: "duration"))
    var stopTimeout: DurationArgument = "10s"

    @Flag(help: "Do not kill a worker at the end of each run to see how soon it is replaced.")
    var noRestart = false

    @OptionGroup(title: "Report options") var options: CompareOptions

    @Argument(
        parsing: .postTerminator, help: ArgumentHelp("The program and its arguments, after `--`.", valueName: "program")
    )
    var program: [String] = []

    func validate() throws {
        guard !program.isEmpty else { throw ValidationError("Name the program after '--', as in: run -- ./mailer") }
        guard (1...1000).contains(rounds) else {
            throw ValidationError("'--rounds' must be from 1 to 1000, not \(rounds).")
        }
        guard duration.duration >= .seconds(1), duration.duration <= .seconds(86_400) else {
            throw ValidationError("'--duration' must be from 1s to 24h, not \(duration.text).")
        }
        guard warmUp.duration >= .zero else { throw ValidationError("'--warm-up' must not be negative.") }
        for entry in setBackend where !entry.contains("{}") || !entry.contains("=") {
            throw ValidationError("'--set-backend' must be NAME={}, not \(entry).")
        }
        for entry in variables where !entry.contains("=") {
            throw ValidationError("'--env' must be NAME=VALUE, not \(entry).")
        }
        let hasPort = (program + variables).contains { $0.contains("{port}") }
        if let load, load.contains("{port}") || (load.contains("{url}") && url == nil), !hasPort {
            throw ValidationError(
                "'--load' needs the program's port: write {port} where the program is told it, or use '--url'.")
        }
        if let endpoint {
            do { _ = try StatusTarget(parsing: endpoint) } catch { throw ValidationError("'--endpoint': \(error).") }
        }
    }

    func run() throws {
        let signals = WatchSignals()
        let plan = ProgramPlan(
            program: program, setBackend: setBackend.isEmpty ? ["MUSTER_BACKEND={}"] : setBackend, variables: variables,
            load: load, url: url ?? "http://127.0.0.1:{port}/", endpoint: endpoint, duration: duration.duration,
            warmUp: warmUp.duration, startTimeout: startTimeout.duration, stopTimeout: stopTimeout.duration,
            killsWorker: !noRestart)
        let names = (options.baseline ?? "cooperative", options.candidate ?? "threading")
        let progress = Progress()
        var runs: ([ProgramRun.Result], [ProgramRun.Result]) = ([], [])
        do {
            for round in 0..<rounds {
                for isBaseline in round % 2 == 0 ? [true, false] : [false, true] {
                    let name = isBaseline ? names.0 : names.1
                    let label = "round \(round + 1) of \(rounds), \(name)"
                    let result = try ProgramRun(plan, side: name, signals: signals) { progress.show("\(label): \($0)") }
                        .result()
                    if isBaseline { runs.0.append(result) } else { runs.1.append(result) }
                }
            }
        } catch ProgramRun.Problem.interrupted {
            progress.clear()
            Terminal.complain("muster: interrupted; the program was ended")
            throw ExitCode(130)
        } catch let problem as ProgramRun.Problem {
            progress.clear()
            Terminal.complain("muster: \(problem)")
            throw ExitCode(CommandExit.failure.rawValue)
        }
        progress.clear()
        try options.finish(evidence(names, runs))
    }

    /// What the sides differ in: the backend, or else the variables that `--set-backend` names.
    private func difference(_ names: (String, String)) -> String {
        let backends = [BackendType.cooperative, .threading].map(\.rawValue)
        if setBackend.isEmpty || (backends.contains(names.0) && backends.contains(names.1)) { return "backend" }
        return setBackend.map { $0.prefix { $0 != "=" } }.joined(separator: ", ")
    }

    private func evidence(
        _ names: (String, String), _ runs: ([ProgramRun.Result], [ProgramRun.Result])
    ) throws -> Evidence {
        let last = runs.0.last?.last ?? Snapshot()
        let measures = Measure.all + (try options.ownMeasures { last.kind(of: $0) ?? runs.1.last?.last.kind(of: $0) })
        var setting = [
            Evidence.Fact("program", program.joined(separator: " ")),
            Evidence.Fact(
                "sides by", (setBackend.isEmpty ? ["MUSTER_BACKEND={}"] : setBackend).joined(separator: " ")),
            Evidence.Fact(
                "runs", "\(rounds) a side, interleaved, \(duration.text) each after \(warmUp.text) of warm-up"),
        ]
        if let load { setting.append(Evidence.Fact("load", load)) }
        setting.append(Evidence.Fact("machine", "\(sysconf(Int32(_SC_NPROCESSORS_ONLN))) processors"))
        var evidence = Evidence(
            method: .run, by: difference(names), setting: setting, baseline: side(names.0, runs.0),
            candidate: side(names.1, runs.1), measured: [], notes: [])
        evidence.measured = measures.map { measure in
            Evidence.Measured(
                quantity: measure.quantity,
                baseline: Evidence.Values(runs.0.map { measure.observations($0.blocks) }),
                candidate: Evidence.Values(runs.1.map { measure.observations($0.blocks) }))
        }
        .filter { !$0.baseline.units.isEmpty || !$0.candidate.units.isEmpty }
        let all = runs.0 + runs.1
        let others = Statistics.median(all.map { max(0, $0.busy - $0.own) })
        if others > 0.25, load == nil {
            evidence.notes.append(
                """
                other programs used \(Int(others * 100)) % of the machine meanwhile: a quieter one gives narrower \
                intervals
                """)
        }
        if load != nil, all.contains(where: { $0.loadTool == nil }) {
            evidence.notes.append("the load's output is not that of wrk or h2load: its own figures are not compared")
        }
        return evidence
    }

    private func side(_ name: String, _ runs: [ProgramRun.Result]) -> Evidence.Side {
        var side = Evidence.Side(name: name)
        side.backends = Set(runs.flatMap { $0.last.values(of: "backend", in: "muster_backend_info") }).sorted()
        side.versions = Set(runs.flatMap { $0.last.values(of: "version", in: "muster_build_info") }).sorted()
        side.workers = runs.map { run in
            run.last.gauges.count { $0.key.name == "muster_worker_up" && $0.value == 1 }
        }
        for run in runs {
            for (reason, count) in run.restarts { side.restarts[reason, default: 0] += count }
            side.healthFlaps += run.healthFlaps
        }
        let busy = Statistics.median(runs.map(\.busy))
        if busy > 0.95 { side.saturation = "\(Int(busy * 100)) % of the processors were busy" }
        return side
    }
}

/// A line on a terminal that says how far it is; nothing in a pipe.
private struct Progress {
    /// `nil` in a pipe.
    private let width = Terminal.width(of: STDERR_FILENO)

    func show(_ text: String) {
        // What wraps is not erased.
        if let width { Terminal.progress("\r\u{1B}[K\(text.prefix(width - 1))") }
    }

    func clear() { show("") }
}
