// SPDX-License-Identifier: Apache-2.0

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
