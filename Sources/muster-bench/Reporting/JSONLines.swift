// SPDX-License-Identifier: Apache-2.0

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
