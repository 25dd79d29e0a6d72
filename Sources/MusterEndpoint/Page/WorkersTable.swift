// SPDX-License-Identifier: Apache-2.0

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
            if spares > 0 { text += ", \(StatusPage.plural(spares, "warm spare"))" }
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
