// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import Logging
import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform

/// Measures Muster against references in the same run.
@main
struct MusterBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "muster-bench",
        abstract: "Measures Muster against references in the same run.",
        discussion: """
            Each figure is compared with the least that the machine needs for the same work, measured in turns with \
            it; what counts is the ratio. The column 'others' tells how much of all processors other processes used \
            meanwhile: limits are meant for a machine where that is near zero. docs/performance.md describes each \
            figure.
            """,
        version: "muster-bench \(MusterVersion.current)")

    @Option(help: ArgumentHelp("Run only benchmarks whose name contains this; may be repeated.", valueName: "name"))
    var filter: [String] = []

    @Flag(help: "Measure for a shorter time, with more noise.")
    var quick = false

    @Flag(help: "Print one JSON object a line instead of a table.")
    var json = false

    @Flag(help: "Exit with status 1 when a limit is not held.")
    var check = false

    @Flag(help: "List the benchmarks and leave.")
    var list = false

    /// The benchmark is its own supervised program; a worker shall not pay for reading options.
    static func main() {
        if let program = SupervisedProgram(arguments: CommandLine.arguments) { program.run().exit() }
        main(nil)
    }

    func run() throws {
        if list {
            let width = Benchmark.all.map(\.name.count).max() ?? 0
            for benchmark in Benchmark.all {
                print(Text.padded(benchmark.name, to: width) + "  " + benchmark.summary)
            }
            return
        }
        let chosen = Benchmark.all.filter { benchmark in
            filter.isEmpty || filter.contains { benchmark.name.contains($0) }
        }
        guard !chosen.isEmpty else {
            throw ValidationError("no benchmark's name contains \(filter.joined(separator: " or ")); see --list")
        }
        let reports = measure(chosen)
        guard check else { return }
        if reports.contains(where: { !$0.isInOrder }) { throw ExitCode(1) }
    }

    private func measure(_ benchmarks: [Benchmark]) -> [Report] {
        // Whoever reads the lines sees each as soon as it is known.
        StandardOutput.lineBuffered()
        let progress = ProgressLine()
        let effort: Effort = quick ? .quick : .full
        let wholeRun = MachineLoad.Meter()
        if !json { print(Table.heading) }
        var reports: [Report] = []
        for (number, benchmark) in benchmarks.enumerated() {
            progress.show("[\(number + 1)/\(benchmarks.count)] \(benchmark.name): \(benchmark.summary)")
            let meter = MachineLoad.Meter()
            let outcome = Result { try benchmark.measure(effort) }
            let report = Report(benchmark: benchmark.name, outcome: outcome, load: meter.read())
            progress.clear()
            for line in json ? JSONLines.lines(report) : Table.lines(report) { print(line) }
            reports.append(report)
        }
        let machine = Machine(load: wholeRun.read())
        for line in json ? [JSONLines.line(machine)] : Table.lines(machine) { print(line) }
        return reports
    }
}

/// Something that can be measured.
struct Benchmark {
    let name: String
    let summary: String
    let measure: (Effort) throws -> [Figure]

    /// In the order in which they run: those that look at memory before those that leave much of it behind.
    static var all: [Benchmark] {
        [
            Benchmark(
                name: "counter", summary: "a counter's increment against an atomic add", measure: counterUpdates),
            Benchmark(
                name: "histogram", summary: "a histogram's observation against an atomic add",
                measure: histogramUpdates),
            Benchmark(name: "jobs", summary: "100,000 jobs at once, and their memory", measure: manyJobs),
            Benchmark(
                name: "threads", summary: "2,000 jobs with threads of their own against bare threads",
                measure: manyThreads),
            Benchmark(name: "switch", summary: "jobs taking turns on the cooperative engine", measure: jobSwitches),
            Benchmark(name: "spawn", summary: "starting and ending a job that does nothing", measure: jobSpawns),
            Benchmark(
                name: "thread-group", summary: "threads of a group that do nothing, against goroutines",
                measure: groupThreads),
            Benchmark(name: "lateness", summary: "how late looping calls start", measure: lateness),
            Benchmark(name: "drift", summary: "how far looping calls get off their grid", measure: drift),
            Benchmark(
                name: "loops-1000", summary: "1,000 looping calls of 100 ms against a bare heap and Go's tickers",
                measure: thousandLoops),
            Benchmark(name: "timers", summary: "10,000 looping calls of 1 s against a bare heap", measure: manyTimers),
            Benchmark(name: "render", summary: "rendering 10,000 series against copying them", measure: rendering),
            Benchmark(
                name: "scrape", summary: "requests of /metrics against a static body of the same size",
                measure: scraping),
            Benchmark(
                name: "supervision-restart",
                summary: "from a worker's death to its replacement's first line, against C",
                measure: restarts),
            Benchmark(
                name: "supervision-start", summary: "32 workers to readiness, forked against spawned",
                measure: starts),
            Benchmark(
                name: "supervision-stop", summary: "ending a supervisor with four idle workers, against C",
                measure: stops),
            Benchmark(
                name: "supervision-idle", summary: "memory and processor time of idle workers and their supervisor",
                measure: idleWorkers),
            Benchmark(
                name: "supervision-scrape", summary: "four workers with 10,000 series each in one scrape",
                measure: workerScrapes),
        ] + servingBenchmarks + probes
    }
}

/// Backends of their own, with their metrics in shared memory as in a service.
enum Backends {
    /// What is said of overruns and the like would go between the results.
    static let silent = Logger(label: "muster-bench", factory: { _ in SwiftLogNoOpLogHandler() })

    static func registry(capacity: Int = ArenaWriter.defaultCapacity) throws -> MetricRegistry {
        MetricRegistry(arena: try .create(name: "muster-bench", capacity: capacity), logger: silent)
    }

    static func make(_ type: BackendType, clock: any RuntimeClock = SystemClock()) throws -> Backend {
        let registry = try registry()
        let engine: any ExecutionEngine =
            type == .threading
            ? try ThreadingEngine(metrics: registry, clock: clock)
            : try CooperativeEngine(metrics: registry, clock: clock)
        return Backend(context: BackendContext(type: type, metrics: registry, logger: silent), engine: engine)
    }

    static func shutDown(_ backend: Backend) throws {
        try Blocking.run { try await backend.engine.shutDown() }
    }
}

/// How long to measure.
enum Effort {
    case full
    case quick

    /// Chooses by effort.
    func callAsFunction<Value>(_ full: Value, quick: Value) -> Value {
        switch self {
        case .full: full
        case .quick: quick
        }
    }
}

/// Why something could not be measured.
struct BenchmarkError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Something that the measurement needs is not there.
struct BenchmarkSkipped: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
