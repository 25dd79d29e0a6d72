// SPDX-License-Identifier: Apache-2.0

/// The looping calls on the page.
struct LoopsTable {
    private let report: StatusReport

    init(_ report: StatusReport) {
        self.report = report
    }

    func write(to html: inout HTMLWriter) {
        guard report.mode != .endpoint else { return }
        let count = report.loops.count + report.omitted.loops
        var table = PageTable(
            "loops", title: "Looping calls", note: count > 0 ? StatusPage.plural(count, "loop") : "",
            columns: [
                .text("Loop"), .text("Backend"), .number("Workers"), .number("Interval"), .number("Lateness p50"),
                .number("p99"), .number("Drift"), .number("Last run"), .number("Next run"), .number("Runs"),
                .number("Failures"), .number("Overruns"),
            ], to: html)
        for loop in report.loops { write(loop, to: &table) }
        if report.loops.isEmpty { table.remark("No looping call has run yet.") }
        if report.omitted.loops > 0 { table.remark("And \(report.omitted.loops) more.") }
        html = table.end()
    }

    private func write(_ loop: LoopStatus, to table: inout PageTable) {
        table.row { html in
            html.name(loop.name)
            if report.groups.count > 1 {
                html.markup("<span class=\"small\">")
                html.name(loop.group)
                html.markup("</span>")
            }
        }
        table.cell { $0.name(loop.backend) }
        table.cell(PageFormat.count(loop.workers))
        table.cell(PageFormat.duration(loop.intervalSeconds))
        table.cell(PageFormat.duration(loop.latenessP50Seconds))
        table.cell(PageFormat.duration(loop.latenessP99Seconds))
        table.cell(PageFormat.duration(loop.driftSeconds))
        table.cell { html in moment(loop.lastRunAt, to: &html) }
        table.cell { html in moment(loop.nextRunAt, to: &html) }
        table.cell(PageFormat.count(loop.runs))
        table.cell { html in tally(loop.failures, to: &html) }
        table.cell { html in tally(loop.overruns, to: &html) }
        table.endRow()
    }

    private func moment(_ instant: Double?, to html: inout HTMLWriter) {
        guard let instant else { return html.text(PageFormat.unknown) }
        html.time(instant, PageFormat.moment(instant, from: report.at))
    }

    /// A number that had better be 0.
    private func tally(_ number: UInt64, to html: inout HTMLWriter) {
        guard number > 0 else { return html.text("0") }
        html.markup("<span class=\"alarm\">")
        html.text(PageFormat.count(number))
        html.markup("</span>")
    }
}
