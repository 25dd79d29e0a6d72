// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import MusterPlatform

extension Report {
    /// The report as JSON: everything that was measured and what it says, in an order that does not change.
    package func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }

    /// The evidence of a report that was written as JSON.
    ///
    /// - Throws: `DecodingError`; ``UnknownVersion``.
    package static func evidence(json: [UInt8]) throws -> Evidence {
        let evidence = try JSONDecoder().decode(Saved.self, from: Data(json)).evidence
        guard evidence.schemaVersion == Evidence.currentSchemaVersion else {
            throw UnknownVersion(version: evidence.schemaVersion)
        }
        return evidence
    }

    private struct Saved: Decodable {
        let evidence: Evidence
    }

    /// A report of another version of Muster.
    package struct UnknownVersion: Error, CustomStringConvertible {
        package let version: Int

        package var description: String {
            "its schema has version \(version), and \(Evidence.currentSchemaVersion) is known"
        }
    }

    /// The rows that have something to say: what neither side has is left out.
    package var shownRows: [Row] { rows.filter { $0.baseline != nil || $0.candidate != nil } }

    /// The rows without a verdict, by what would help.
    package var remedies: [(names: [String], reason: String, remedy: String)] {
        var result: [(names: [String], reason: String, remedy: String)] = []
        guard refusals.isEmpty else { return [] }
        for row in rows {
            guard row.outcome == .noVerdict, let reason = row.reason, let remedy = row.remedy else { continue }
            if let index = result.firstIndex(where: { $0.reason == reason && $0.remedy == remedy }) {
                result[index].names.append(row.quantity.name)
            } else {
                result.append(([row.quantity.name], reason, remedy))
            }
        }
        return result
    }

    /// How to read the numbers.
    package var legend: String {
        let unit =
            switch evidence.method {
            case .run: "run of the program"
            case .workers: "worker"
            case .stretches: "stretch of time"
            }
        return """
            Medians; the change from \(evidence.baseline.name) to \(evidence.candidate.name) with its 95 % confidence \
            interval (bootstrap of whole units; the unit is a \(unit)); p of Mann and Whitney's test, corrected for \
            \(rows.count { $0.p != nil }) comparisons after Benjamini and Hochberg. ~ stands for no significant \
            difference of \(PlainPercent.text(relevant)) or more, or one that is too small to matter.
            """
    }

    /// The report as Markdown, for a merge request or a job's summary.
    package func markdown() -> String {
        var text =
            "## Muster comparison: \(Self.cell(evidence.candidate.name)) against \(Self.cell(evidence.baseline.name))\n\n"
        text += "**\(Self.cell(summary))**\n\n"
        for refusal in refusals {
            text += "> **No verdict:** \(Self.cell(refusal.reason)). \(Self.cell(refusal.remedy)).\n\n"
        }
        text +=
            "| quantity | \(Self.cell(evidence.baseline.name)) | \(Self.cell(evidence.candidate.name)) | change [95 %] | p | verdict |\n"
        text += "|---|---:|---:|---:|---:|---|\n"
        for row in shownRows {
            let cells = [
                "`\(row.quantity.name)`", row.baseline.map(row.quantity.text) ?? "-",
                row.candidate.map(row.quantity.text) ?? "-", row.changeText, row.probabilityText,
                row.outcome == .worse || row.outcome == .better ? "**\(row.word)**" : row.word,
            ]
            text += "| " + cells.map(Self.cell).joined(separator: " | ") + " |\n"
        }
        text += "\n\(Self.cell(legend))\n"
        func list(_ title: String, _ items: [String]) {
            if !items.isEmpty { text += "\n\(title)\n\n" + items.map { "- \(Self.cell($0))\n" }.joined() }
        }
        list("Conditions:", conditions.map { "`\($0.text)`: \($0.outcome.words)" })
        list("What would help:", remedies.map { "\($0.names.joined(separator: ", ")): \($0.reason); \($0.remedy)" })
        list("Notes:", notes)
        list("Measured:", evidence.setting.map { "\($0.name): `\($0.value)`" })
        return text
    }

    private static func cell(_ text: String) -> String {
        text.replacingCharacters { ["|": "\\|", "<": "&lt;", "\n": " "][$0] }
    }
}

extension Condition.Outcome {
    /// The outcome in words.
    package var words: String {
        switch self {
        case .holds: "met, so it fails"
        case .fails: "not met"
        case .undecided: "undecided: no verdict"
        }
    }
}

/// A share in percent.
enum PlainPercent {
    static func text(_ share: Double) -> String { PlainText.number(share * 100, places: 1) + " %" }
}
