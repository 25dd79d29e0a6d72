// SPDX-License-Identifier: Apache-2.0

/// The health checks on the page.
struct HealthTable {
    private let report: StatusReport

    init(_ report: StatusReport) {
        self.report = report
    }

    func write(to html: inout HTMLWriter) {
        let health = report.health
        func word(_ state: CheckState) -> String { state == .fail ? "fails" : state == .warn ? "warns" : "passes" }
        var table = PageTable(
            "health", title: "Health",
            note: "live \(word(health.live)), ready \(word(health.ready)), startup \(word(health.startup))",
            columns: [.text("Check"), .text("State"), .text("Speaks for"), .text("Reason")], to: html)
        for check in health.checks {
            table.row { $0.name(check.name) }
            table.cell { PageState(check.state).write(to: &$0, as: "state") }
            table.cell(check.levels.joined(separator: ", "))
            table.cell { html in
                html.text(check.reason ?? "")
                if let found = check.foundAt, report.at - found >= 1 {
                    html.markup("<span class=\"small\">")
                    html.time(found, PageFormat.moment(found, from: report.at))
                    html.markup("</span>")
                }
            }
            table.endRow()
        }
        if health.checks.isEmpty { table.remark("No checks are registered.") }
        html = table.end()
    }
}
