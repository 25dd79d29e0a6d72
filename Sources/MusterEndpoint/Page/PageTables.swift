// SPDX-License-Identifier: Apache-2.0

import MusterHealth
import MusterPlatform

/// The common parts of the page's tables.
struct PageTable {
    private var html: HTMLWriter
    private let columns: [Column]
    private var next = 0

    /// A column's heading.
    struct Column {
        let title: StaticString
        let isNumber: Bool

        static func text(_ title: StaticString) -> Column { Column(title: title, isNumber: false) }
        static func number(_ title: StaticString) -> Column { Column(title: title, isNumber: true) }
    }

    /// Begins a section with a table.
    ///
    /// - Parameters:
    ///   - identifier: What the elements are called, so that the script finds them again.
    ///   - title: The section's heading.
    ///   - note: How much of what there is.
    ///   - columns: The columns.
    ///   - html: Where to write.
    init(
        _ identifier: StaticString, title: StaticString, note: String, columns: [Column], to html: HTMLWriter
    ) {
        self.html = html
        self.columns = columns
        let id = identifier
        self.html.markup("<section aria-labelledby=\"")
        self.html.markup(id)
        self.html.markup("-title\"><div class=\"wide\"><table class=\"")
        self.html.markup(id)
        self.html.markup("\"><caption><h2 id=\"")
        self.html.markup(id)
        self.html.markup("-title\">")
        self.html.markup(title)
        self.html.markup("<span class=\"of\" id=\"")
        self.html.markup(id)
        self.html.markup("-note\" data-live>")
        self.html.text(note)
        self.html.markup("</span></h2></caption>\n<thead><tr>")
        for column in columns {
            self.html.markup("<th scope=\"col\"")
            if column.isNumber { self.html.markup(" class=\"number\"") }
            self.html.markup(">")
            self.html.markup(column.title)
            self.html.markup("</th>")
        }
        self.html.markup("</tr></thead>\n<tbody id=\"")
        self.html.markup(id)
        self.html.markup("-rows\" data-live>")
    }

    /// Begins a row with the cell that names it.
    mutating func row(_ write: (inout HTMLWriter) -> Void) {
        next = 1
        html.markup("<tr><th scope=\"row\">")
        write(&html)
        html.markup("</th>")
    }

    /// Writes the row's next cell.
    mutating func cell(_ write: (inout HTMLWriter) -> Void) {
        let column = columns[min(next, columns.count - 1)]
        next += 1
        html.markup("<td data-label=\"")
        html.markup(column.title)
        html.markup(column.isNumber ? "\" class=\"number\"><span>" : "\"><span>")
        write(&html)
        html.markup("</span></td>")
    }

    mutating func cell(_ text: String) {
        cell { $0.text(text) }
    }

    mutating func endRow() {
        html.markup("</tr>\n")
    }

    /// A row that says why there are no others, or no more.
    mutating func remark(_ text: String) {
        html.markup("<tr><td class=\"none\" colspan=\"")
        html.text("\(columns.count)")
        html.markup("\"><span>")
        html.text(text)
        html.markup("</span></td></tr>\n")
    }

    /// Ends the table and its section.
    consuming func end() -> HTMLWriter {
        html.markup("</tbody></table></div></section>\n")
        return html
    }
}

/// The workers on the page.
struct WorkersTable {
    /// A worker that has been at one thing for longer is pointed out, in seconds.
    private static let noticeableAge = 1.0

    private let report: StatusReport

    init(_ report: StatusReport) {
        self.report = report
    }

    func write(to html: inout HTMLWriter) {
        guard report.mode != .endpoint else { return }
        var table = PageTable(
            "workers", title: "Workers", note: note,
            columns: [
                .text("Worker"), .text("State"), .number("PID"), .text("Backend"), .number("Uptime"),
                .number("Restarts"), .number("Threads"), .number("Jobs"), .number("CPU"), .number("Memory"),
                .number("Heartbeat"),
            ], to: html)
        for worker in report.workers { write(worker, to: &table) }
        if report.workers.isEmpty { table.remark("No workers yet.") }
        if report.omitted.workers > 0 { table.remark("And \(report.omitted.workers) more.") }
        html = table.end()
    }

    private var note: String {
        report.groups.prefix(8).map { group in
            var text = "\(group.name): \(group.readyWorkers) of \(group.wantedWorkers) ready"
            let spares = group.readySpares + group.startingSpares
            if spares > 0 { text += ", \(PlainText.count(spares, "warm spare"))" }
            return text
        }.joined(separator: "; ")
    }

    private func write(_ worker: WorkerStatus, to table: inout PageTable) {
        let process = worker.process
        table.row { html in
            html.name(worker.group)
            html.text("/\(worker.slot)")
        }
        table.cell { html in
            PageState(worker.state).write(to: &html, as: "state")
            if worker.state == .backoff, let delay = worker.backoffSeconds {
                small(&html) { $0.text("for \(PageFormat.duration(delay))") }
            }
            if !worker.isReadable { small(&html) { $0.text("metrics damaged") } }
        }
        table.cell(process.map { "\($0.pid)" } ?? PageFormat.unknown)
        table.cell { html in
            if let backend = worker.backend { html.name(backend) } else { html.text(PageFormat.unknown) }
        }
        table.cell { html in
            let span = PageFormat.span(process?.uptimeSeconds)
            if let started = process?.startedAt { html.time(started, span) } else { html.text(span) }
        }
        table.cell { html in
            html.text(PageFormat.count(worker.restartCount))
            guard let reason = worker.lastRestartReason else { return }
            small(&html) { html in
                html.text("\(reason), ")
                if let at = worker.lastRestartAt { html.time(at, PageFormat.moment(at, from: report.at)) }
            }
        }
        table.cell(PageFormat.count(process?.threads))
        table.cell(PageFormat.count(worker.jobs))
        // The first look knows only what it has used in all.
        table.cell(
            worker.cpuCores.map(PageFormat.percent) ?? process?.cpuSeconds.map { PageFormat.duration($0) + " total" }
                ?? PageFormat.unknown)
        table.cell(PageFormat.bytes(process?.residentMemoryBytes))
        table.cell { html in heartbeat(of: worker, to: &html) }
        table.endRow()
    }

    private func heartbeat(of worker: WorkerStatus, to html: inout HTMLWriter) {
        guard let at = worker.heartbeatAt, let age = worker.heartbeatAgeSeconds else {
            return html.text(PageFormat.unknown)
        }
        guard age >= Self.noticeableAge else { return html.time(at, "now") }
        html.markup("<span class=\"alarm\">")
        html.time(at, "\(PageFormat.span(age)) ago")
        html.markup("</span>")
    }

    private func small(_ html: inout HTMLWriter, _ write: (inout HTMLWriter) -> Void) {
        html.markup("<span class=\"small\">")
        write(&html)
        html.markup("</span>")
    }
}

/// The looping calls on the page.
struct LoopsTable {
    private let report: StatusReport

    init(_ report: StatusReport) {
        self.report = report
    }

    func write(to html: inout HTMLWriter) {
        guard report.mode != .endpoint else { return }
        let count = report.loops.count + report.omitted.loops
        var columns: [PageTable.Column] = [
            .text("Loop"), .text("Backend"), .number("Workers"), .number("Interval"), .number("Lateness p50"),
            .number("p99"), .number("Drift"), .number("Last run"), .number("Next run"), .number("Runs"),
            .number("Failures"), .number("Overruns"),
        ]
        if hasTasks { columns.append(.number("Mean run")) }
        var table = PageTable(
            "loops", title: "Looping calls", note: count > 0 ? PlainText.count(count, "loop") : "", columns: columns,
            to: html)
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
            if let schedule = loop.schedule {
                html.markup("<span class=\"small\">")
                html.name(schedule)
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
        if hasTasks { table.cell(PageFormat.duration(loop.meanRunSeconds)) }
        table.endRow()
    }

    private var hasTasks: Bool { report.loops.contains { $0.schedule != nil } }

    private func moment(_ instant: Double?, to html: inout HTMLWriter) {
        guard let instant else { return html.text(PageFormat.unknown) }
        html.time(instant, PageFormat.moment(instant, from: report.at))
    }

    /// A count that is normally 0.
    private func tally(_ number: UInt64, to html: inout HTMLWriter) {
        guard number > 0 else { return html.text("0") }
        html.markup("<span class=\"alarm\">")
        html.text(PageFormat.count(number))
        html.markup("</span>")
    }
}

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
            columns: [.text("Check"), .text("State"), .text("Levels"), .text("Reason")], to: html)
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
