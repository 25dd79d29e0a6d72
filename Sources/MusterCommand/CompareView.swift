// SPDX-License-Identifier: Apache-2.0

package import MusterCompare
import MusterPlatform

/// A comparison as tables for a terminal.
package struct CompareView {
    private let report: Report
    private let width: Int
    private let style: Style

    package init(_ report: Report, width: Int, style: Style) {
        self.report = report
        self.width = width
        self.style = style
    }

    package var lines: [String] {
        var lines = wrap(report.summary, report.refusals.isEmpty ? .strong : .bad)
        for refusal in report.refusals { lines += wrap("\(refusal.reason): \(refusal.remedy)", .bad) }
        lines += [""] + table + [""] + wrap(report.legend, .quiet)
        for condition in report.conditions {
            lines += wrap("\(condition.text): \(condition.outcome.words)", condition.outcome == .fails ? .good : .bad)
        }
        lines += section(
            "What would help", report.remedies.map { "\($0.names.joined(separator: ", ")): \($0.reason); \($0.remedy)" }
        )
        lines += section("Notes", report.notes)
        lines += section("Measured", report.evidence.setting.map { "\($0.name): \($0.value)" })
        return lines
    }

    private func section(_ title: String, _ items: [String]) -> [String] {
        items.isEmpty ? [] : ["", style.mark(title, as: .strong)] + items.flatMap { wrap($0, nil) }
    }

    private func wrap(_ text: String, _ emphasis: Style.Emphasis?) -> [String] {
        TextWrap.lines(text.onOneLine, width: min(width, 100)).map { style.mark($0, as: emphasis) }
    }

    private var table: [String] {
        let rows = report.shownRows
        var table = TextTable(rows: rows.count)
        func add(_ title: String, isNumeric: Bool = true, importance: Int, _ cell: (Row) -> TextTable.Cell) {
            table.add(TextTable.Column(title, isNumeric: isNumeric, importance: importance), rows.map(cell))
        }
        add("QUANTITY", isNumeric: false, importance: .max) { .init($0.quantity.name) }
        add(report.evidence.baseline.name.uppercased(), importance: 4) {
            .init($0.baseline.map($0.quantity.text) ?? Readable.unknown)
        }
        add(report.evidence.candidate.name.uppercased(), importance: 5) {
            .init($0.candidate.map($0.quantity.text) ?? Readable.unknown)
        }
        add("CHANGE [95 %]", importance: 6) { .init($0.changeText) }
        add("P", importance: 3) { .init($0.probabilityText) }
        add("EFFECT", importance: 1) { .init($0.effect.map { PlainText.number($0) } ?? "") }
        add("VERDICT", isNumeric: false, importance: .max) { .init($0.word, emphasis($0.outcome)) }
        return table.lines(width: width, style: style)
    }

    private func emphasis(_ outcome: Row.Outcome) -> Style.Emphasis {
        switch outcome {
        case .better: .good
        case .worse: .bad
        case .differs: .strong
        case .alike: .quiet
        case .noVerdict, .noData: .doubtful
        }
    }
}

/// The base URL of a Prometheus, as people write it.
package struct PrometheusTarget: Hashable, Sendable {
    /// Without a slash at the end.
    package let url: String
    package let isLocal: Bool

    /// - Throws: ``StatusTarget/Problem``.
    package init(parsing text: String) throws(StatusTarget.Problem) {
        guard text.hasPrefix("http://") || text.hasPrefix("https://") else {
            throw StatusTarget.Problem(description: "'\(text)' is not a URL: write http://prometheus:9090")
        }
        // Has the same rules; what it appends is taken away again.
        let target = try StatusTarget(parsing: text)
        url = String(target.url.dropLast("/status".count))
        isLocal = target.isLocal
    }

    /// Why a request had no answer, in a line.
    package func message(for failure: FetchFailure) -> String {
        let reason =
            switch failure {
            case .refused: "connection refused; is Prometheus running, and is this its address?"
            case .unknownHost: "the host's name has no address; is it spelt correctly?"
            case .unreachable(let reason): "cannot connect: \(reason)"
            case .timedOut(let limit):
                "no answer within \(limit.text); use a shorter --window, or a longer --timeout"
            case .untrusted(let reason):
                "its certificate is not trusted: \(reason); name the authority's certificate with --ca-file"
            case .tls(let reason): "TLS failed: \(reason); does it speak HTTPS, and does it ask for --cert and --key?"
            case .badFile(let reason): "a file of --ca-file, --cert or --key cannot be used: \(reason)"
            case .noHTTP: "what answers there speaks no HTTP; is it https://?"
            case .cutOff(let reason): "the connection ended before the answer: \(reason); is it https://?"
            case .tooLarge(let limit): "the answer has more than \(limit) bytes; use a --selector or a shorter --window"
            case .interrupted: "interrupted"
            case .other(let reason): reason
            case .noSocket, .notPermitted, .status, .noStatus, .version: "no answer that can be used"
            }
        return "\(url): \(reason)".onOneLine
    }
}
