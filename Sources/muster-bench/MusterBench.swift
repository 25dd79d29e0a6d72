// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import Muster

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
