// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc

/// What one benchmark has found.
struct Report {
    let benchmark: String
    let figures: [Figure]
    /// Why there are no figures.
    let problem: String?
    /// Whether it was left out rather than failed.
    let isSkipped: Bool
    let load: MachineLoad

    init(benchmark: String, outcome: Result<[Figure], any Error>, load: MachineLoad) {
        self.benchmark = benchmark
        self.load = load
        switch outcome {
        case .success(let figures):
            self.figures = figures
            problem = nil
            isSkipped = false
        case .failure(let error):
            figures = []
            problem = "\(error)"
            isSkipped = error is BenchmarkSkipped
        }
    }

    /// Whether every limit was held; what was left out does not count.
    var isInOrder: Bool {
        guard problem == nil else { return isSkipped }
        return figures.allSatisfy { $0.verdict == .ok || $0.verdict == .none }
    }
}

/// One result.
struct Figure {
    let name: String
    let unit: Unit
    let measured: Double
    let reference: (name: String, value: Double)?
    let ratio: Double?
    /// Between which ratios four of five rounds were.
    let ratioRange: ClosedRange<Double>?
    let limit: Limit
    let note: String?

    /// Compares medians of rounds; the ratio is the median of the rounds' ratios.
    ///
    /// - Parameters:
    ///   - name: What was measured.
    ///   - unit: The unit of all values.
    ///   - measured: A value for each round.
    ///   - reference: What it is compared with, and its value in each round.
    ///   - isRatioMeaningful: Whether to tell a ratio; not of values around zero.
    ///   - limit: What it has to hold.
    ///   - note: What else there is to know.
    init(
        _ name: String, in unit: Unit, _ measured: [Double], against reference: (name: String, values: [Double]),
        isRatioMeaningful: Bool = true, limit: Limit = .none, note: String? = nil
    ) {
        self.name = name
        self.unit = unit
        self.measured = Statistics.median(measured)
        self.reference = (reference.name, Statistics.median(reference.values))
        let ratios = zip(measured, reference.values).filter { $0.1 != 0 }.map { $0.0 / $0.1 }
        if isRatioMeaningful, !ratios.isEmpty {
            ratio = Statistics.median(ratios)
            ratioRange = Statistics.quantile(0.1, of: ratios)...Statistics.quantile(0.9, of: ratios)
        } else {
            ratio = nil
            ratioRange = nil
        }
        self.limit = limit
        self.note = note
    }

    /// Tells a value alone.
    init(_ name: String, in unit: Unit, _ measured: [Double], limit: Limit = .none, note: String? = nil) {
        self.name = name
        self.unit = unit
        self.measured = Statistics.median(measured)
        reference = nil
        ratio = nil
        ratioRange = nil
        self.limit = limit
        self.note = note
    }

    var verdict: Verdict {
        switch limit {
        case .none: .none
        case .ratioAtMost(let limit): (ratio ?? .infinity) <= limit ? .ok : .above
        case .ratioAtLeast(let limit): (ratio ?? 0) >= limit ? .ok : .below
        case .valueAtMost(let limit): measured <= limit ? .ok : .above
        }
    }
}

/// What a figure has to hold on a quiet machine.
enum Limit {
    /// It is told, not judged.
    case none
    case ratioAtMost(Double)
    case ratioAtLeast(Double)
    /// The figure itself, in its unit.
    case valueAtMost(Double)

    func text(in unit: Unit) -> String {
        switch self {
        case .none: ""
        case .ratioAtMost(let limit): "<= \(Text.fixed(limit, digits: 2))x"
        case .ratioAtLeast(let limit): ">= \(Text.fixed(limit, digits: 2))x"
        case .valueAtMost(let limit): "<= \(unit.text(limit))"
        }
    }
}

/// Whether a figure holds its limit.
enum Verdict: String {
    case ok
    case above = "ABOVE"
    case below = "BELOW"
    /// There is no limit.
    case none = ""
}

/// What a figure counts.
enum Unit: String {
    case nanoseconds = "ns"
    case perSecond = "per second"
    case bytes
    case times
    /// Processors: 1.0 is one of them all the time.
    case processors

    /// A value for people.
    func text(_ value: Double) -> String {
        switch self {
        case .nanoseconds:
            let size = value.magnitude
            if size < 1e3 { return Text.significant(value) + " ns" }
            if size < 1e6 { return Text.significant(value / 1e3) + " µs" }
            if size < 1e9 { return Text.significant(value / 1e6) + " ms" }
            return Text.significant(value / 1e9) + " s"
        case .perSecond: return Text.significant(value) + " /s"
        case .bytes: return value < 10_240 ? Text.significant(value) + " B" : Text.significant(value / 1024) + " KiB"
        case .times: return Text.fixed(value, digits: 0)
        case .processors: return Text.significant(value * 100) + " % CPU"
        }
    }
}

/// The results for people.
enum Table {
    private static let widths = (figure: 52, value: 11, ratio: 7, range: 12, limit: 12, verdict: 7)

    static var heading: String {
        row("figure", "measured", "reference", "ratio", "10-90 %", "limit", "verdict", "others  reference is")
    }

    static func lines(_ report: Report) -> [String] {
        if let problem = report.problem {
            return ["\(report.benchmark): \(report.isSkipped ? "left out" : "failed"): \(problem)"]
        }
        return report.figures.flatMap { figure in
            let range = figure.ratioRange.map {
                "\(Text.fixed($0.lowerBound, digits: 2))-\(Text.fixed($0.upperBound, digits: 2))"
            }
            let line = row(
                "\(report.benchmark): \(figure.name)", figure.unit.text(figure.measured),
                figure.reference.map { figure.unit.text($0.value) } ?? "",
                figure.ratio.map { Text.fixed($0, digits: 2) } ?? "", range ?? "", figure.limit.text(in: figure.unit),
                figure.verdict.rawValue,
                Text.rightAligned(percent(report.load.others), to: 6) + "  " + (figure.reference?.name ?? ""))
            return [line] + (figure.note.map { ["    " + $0] } ?? [])
        }
    }

    static func lines(_ machine: Machine) -> [String] {
        let load = machine.load
        var lines = [
            "",
            "Machine: \(machine.processors) processors (\(machine.model)), Linux \(machine.kernel).",
            "During the run, of \(machine.processors * 100) %: this program \(percent(load.own)), "
                + "others \(percent(load.others)), taken by the hypervisor \(percent(load.stolen)).",
        ]
        if !machine.isQuiet {
            lines.append("The machine was not quiet: ratios near their limits should be measured again.")
        }
        return lines
    }

    private static func percent(_ processors: Double) -> String {
        Text.fixed(processors * 100, digits: 0) + " %"
    }

    private static func row(
        _ figure: String, _ measured: String, _ reference: String, _ ratio: String, _ range: String, _ limit: String,
        _ verdict: String, _ rest: String
    ) -> String {
        [
            Text.padded(figure, to: widths.figure), Text.rightAligned(measured, to: widths.value),
            Text.rightAligned(reference, to: widths.value), Text.rightAligned(ratio, to: widths.ratio),
            Text.rightAligned(range, to: widths.range), Text.rightAligned(limit, to: widths.limit),
            Text.padded(verdict, to: widths.verdict), rest,
        ].joined(separator: " ")
    }
}

/// Numbers and columns.
enum Text {
    /// A number with a fixed number of digits behind the point.
    static func fixed(_ value: Double, digits: Int) -> String {
        guard value.isFinite, value.magnitude < 1e15 else { return "\(value)" }
        var scale = 1
        for _ in 0..<digits { scale *= 10 }
        let scaled = Int((value.magnitude * Double(scale)).rounded())
        let sign = value < 0 && scaled > 0 ? "-" : ""
        guard digits > 0 else { return sign + "\(scaled)" }
        let fraction = String(scaled % scale)
        return sign + "\(scaled / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction
    }

    /// A number with about three digits that mean something.
    static func significant(_ value: Double) -> String {
        let size = value.magnitude
        return fixed(value, digits: size < 10 ? 2 : size < 100 ? 1 : 0)
    }

    static func padded(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    static func rightAligned(_ text: String, to width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }
}

/// The results for programs: one object a line, each with a member `kind`.
enum JSONLines {
    static func lines(_ report: Report) -> [String] {
        if let problem = report.problem {
            return [
                object([
                    ("kind", string(report.isSkipped ? "skipped" : "failed")),
                    ("benchmark", string(report.benchmark)), ("reason", string(problem)),
                ])
            ]
        }
        return report.figures.map { line(report, $0) }
    }

    private static func line(_ report: Report, _ figure: Figure) -> String {
        var members = [
            ("kind", string("figure")), ("benchmark", string(report.benchmark)), ("figure", string(figure.name)),
            ("unit", string(figure.unit.rawValue)), ("measured", number(figure.measured)),
        ]
        if let reference = figure.reference {
            members += [("reference", number(reference.value)), ("reference_is", string(reference.name))]
        }
        if let ratio = figure.ratio { members.append(("ratio", number(ratio))) }
        if let range = figure.ratioRange {
            members += [("ratio_p10", number(range.lowerBound)), ("ratio_p90", number(range.upperBound))]
        }
        switch figure.limit {
        case .none: break
        case .ratioAtMost(let limit): members.append(("ratio_at_most", number(limit)))
        case .ratioAtLeast(let limit): members.append(("ratio_at_least", number(limit)))
        case .valueAtMost(let limit): members.append(("measured_at_most", number(limit)))
        }
        if figure.verdict != .none { members.append(("ok", figure.verdict == .ok ? "true" : "false")) }
        members.append(("others_cpu", number(report.load.others)))
        if let note = figure.note { members.append(("note", string(note))) }
        return object(members)
    }

    static func line(_ machine: Machine) -> String {
        object([
            ("kind", string("machine")), ("processors", "\(machine.processors)"), ("model", string(machine.model)),
            ("kernel", string(machine.kernel)), ("own_cpu", number(machine.load.own)),
            ("others_cpu", number(machine.load.others)), ("stolen_cpu", number(machine.load.stolen)),
            ("quiet", machine.isQuiet ? "true" : "false"),
        ])
    }

    private static func object(_ members: [(String, String)]) -> String {
        "{" + members.map { "\(string($0.0)):\($0.1)" }.joined(separator: ",") + "}"
    }

    private static func number(_ value: Double) -> String {
        value.isFinite ? "\(value)" : "null"
    }

    private static func string(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            default:
                if scalar.value < 0x20 {
                    let hexadecimal = String(scalar.value, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - hexadecimal.count) + hexadecimal
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }
}

/// A line on the terminal that says what is going on, and vanishes. Nothing where there is no terminal.
struct ProgressLine {
    private let isTerminal = isatty(STDERR_FILENO) == 1

    func show(_ text: String) {
        put("\r\u{1B}[K" + text)
    }

    func clear() {
        put("\r\u{1B}[K")
    }

    private func put(_ text: String) {
        guard isTerminal else { return }
        let bytes = Array(text.utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}

/// What goes wrong in processes that the benchmark starts.
enum StandardError {
    static func print(_ text: String) {
        let bytes = Array((text + "\n").utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}

/// What the program writes to.
enum StandardOutput {
    /// Makes each line appear as soon as it is complete, also in a file or a pipe.
    static func lineBuffered() {
        cmusterbench_line_buffer_output()
    }
}
