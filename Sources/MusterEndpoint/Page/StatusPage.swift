// SPDX-License-Identifier: Apache-2.0

/// The status page: one file of HTML, complete without its script, with nothing from elsewhere.
struct StatusPage {
    /// What a browser may do with the page: apply its style, run its script, fetch from where it came from. Both are
    /// named by their digests, so that no text that finds its way into the page is ever run.
    static let contentSecurityPolicy = """
        default-src 'none'; style-src \(PageStyle.digest); \
        script-src \(PageScript.digest); connect-src 'self'; img-src data:; base-uri 'none'; \
        form-action 'none'; frame-ancestors 'none'
        """

    private let report: StatusReport
    private var html = HTMLWriter()

    /// The page in UTF-8.
    var bytes: [UInt8] { html.bytes }

    /// Writes the page.
    ///
    /// - Parameter report: What it shows.
    init(_ report: StatusReport) {
        self.report = report
        writeHead()
        writeHeader()
        html.markup("<main id=\"main\">\n")
        writeCharts()
        HealthTable(report).write(to: &html)
        WorkersTable(report).write(to: &html)
        LoopsTable(report).write(to: &html)
        html.markup("</main>\n")
        writeFooter()
    }

    private mutating func writeHead() {
        html.markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>")
        html.text("\(report.name): \(PageState(report.state).word)")
        html.markup(
            """
            </title>
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'\
            %3E%3Crect width='16' height='16' rx='4' fill='%232563c9'/%3E%3Cpath d='M2 9h3l2-5 3 8 1.5-3H14' \
            fill='none' stroke='white' stroke-width='1.6'/%3E%3C/svg%3E">
            <style>
            """)
        html.part(PageStyle.text)
        html.markup("</style>\n</head>\n<body>\n")
    }

    private mutating func writeHeader() {
        html.markup("<a class=\"skip\" href=\"#main\">Skip to the figures</a>\n<header>\n<div class=\"title\"><h1>")
        html.name(report.name)
        html.markup("</h1>\n<div id=\"state\" role=\"status\" data-live>")
        PageState(report.state).write(to: &html, as: "pill")
        html.markup("</div></div>\n<p class=\"facts\" id=\"facts\" data-live>")
        writeFacts()
        html.markup(
            """
            </p>
            <nav aria-label="Endpoints"><ul>
            <li><a href="metrics">Metrics</a></li>
            <li><a href="livez?verbose">Liveness</a></li>
            <li><a href="readyz?verbose">Readiness</a></li>
            <li><a href="startupz?verbose">Startup</a></li>
            <li><a href="status">JSON</a></li>
            </ul></nav>
            </header>

            """)
    }

    private mutating func writeFacts() {
        let report = report
        fact { html in
            html.text("up \(PageFormat.span(report.process.uptimeSeconds))")
            guard let started = report.process.startedAt, let exact = PageFormat.timestamp(started) else { return }
            html.text(" since ")
            html.time(started, exact.prefix(19).replacing("T", with: " ") + " UTC")
        }
        for backend in report.backends {
            fact { html in
                html.name(backend.name)
                html.text(" backend, \(Self.reason(backend.source))")
                if report.backends.count > 1 { html.text(", in \(Self.plural(backend.workers, "worker"))") }
            }
        }
        if report.isReloading { fact { html in html.text("reloading") } }
        for group in report.groups where group.restartsTooOften {
            fact { html in
                html.name(group.name)
                html.text(" restarts too often")
            }
        }
        let role =
            switch report.mode {
            case .supervisor: "supervisor"
            case .process: "one process"
            case .endpoint: "process"
            }
        fact { html in html.text("\(role), pid \(report.process.pid)") }
        if let version = report.version.muster {
            fact { html in html.text("Muster \(version)\(report.version.swift.map { ", Swift \($0)" } ?? "")") }
        }
    }

    private mutating func fact(_ write: (inout HTMLWriter) -> Void) {
        html.markup("<span>")
        write(&html)
        html.markup("</span>")
    }

    private static func reason(_ source: String) -> String {
        switch source {
        case "explicit": "chosen explicitly"
        case "hook": "chosen by the hook"
        case "default": "the default"
        default: "chosen by \(source)"
        }
    }

    /// A number and what it counts.
    static func plural(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

    private mutating func writeCharts() {
        guard report.mode != .endpoint else { return }
        let history = report.history
        let (lateness, threads, restarts) = (
            history.latenessP99Seconds.map { $0 ?? .nan }, history.threads.map(Double.init),
            history.restarts.map(Double.init)
        )
        html.markup("<div class=\"charts\" id=\"charts\" data-live>\n")
        StatusChart(
            title: "Lateness of loops, 99th percentile", at: history.at, values: lateness, now: report.at,
            format: PageFormat.duration
        ).write(to: &html)
        StatusChart(
            title: "Threads", at: history.at, values: threads, now: report.at,
            format: { PageFormat.count(Int($0.rounded())) }
        ).write(to: &html)
        StatusChart(
            title: "Restarts of workers", at: history.at, values: restarts, now: report.at, isStepped: true,
            format: { PageFormat.count(Int($0.rounded())) }
        ).write(to: &html)
        html.markup("</div>\n")
    }

    private mutating func writeFooter() {
        html.markup("<footer><p><span id=\"taken\" data-live>As of ")
        html.time(report.at, String((PageFormat.timestamp(report.at) ?? "").prefix(19).replacing("T", with: " ")))
        html.markup(
            """
             UTC</span><span id="connection" role="status">Reload the page for new figures</span></p></footer>
            <script>
            """)
        html.part(PageScript.text)
        html.markup("</script>\n</body>\n</html>\n")
    }
}
