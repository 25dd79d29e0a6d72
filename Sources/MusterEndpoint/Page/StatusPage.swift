// SPDX-License-Identifier: Apache-2.0

import MusterHealth
import MusterPlatform

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
        html.markup("<a class=\"skip\" href=\"#main\">Skip to content</a>\n<header>\n<div class=\"title\"><h1>")
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
                if report.backends.count > 1 { html.text(", in \(PlainText.count(backend.workers, "worker"))") }
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
             UTC</span><span id="connection" role="status">Reload the page to refresh</span></p></footer>
            <script>
            """)
        html.part(PageScript.text)
        html.markup("</script>\n</body>\n</html>\n")
    }
}

/// How a state is shown: a word, a symbol that is another one for each kind of state, and a colour that adds nothing to
/// them.
struct PageState {
    let word: String
    let symbol: StaticString
    let kind: StaticString

    init(_ state: ServiceState) {
        switch state {
        case .ready: self.init("Ready", "●", "good")
        case .degraded: self.init("Degraded", "▲", "warn")
        case .unready: self.init("Not ready", "✕", "bad")
        case .starting: self.init("Starting", "◔", "calm")
        case .failing: self.init("Failing", "✕", "bad")
        case .stopping: self.init("Stopping", "■", "calm")
        }
    }

    init(_ state: WorkerState) {
        switch state {
        case .starting: self.init("starting", "◔", "calm")
        case .ready: self.init("ready", "●", "good")
        case .stopping: self.init("stopping", "■", "calm")
        case .hung: self.init("hung", "✕", "bad")
        case .backoff: self.init("backing off", "↻", "warn")
        case .finished: self.init("finished", "✓", "calm")
        }
    }

    init(_ state: CheckState) {
        switch state {
        case .pass: self.init("pass", "●", "good")
        case .warn: self.init("warning", "▲", "warn")
        case .fail: self.init("fail", "✕", "bad")
        case .unknown: self.init("not evaluated yet", "○", "calm")
        }
    }

    private init(_ word: String, _ symbol: StaticString, _ kind: StaticString) {
        self.word = word
        self.symbol = symbol
        self.kind = kind
    }

    func write(to html: inout HTMLWriter, as style: StaticString) {
        html.markup("<span class=\"")
        html.markup(style)
        html.markup(" ")
        html.markup(kind)
        html.markup("\"><span aria-hidden=\"true\">")
        html.markup(symbol)
        html.markup("</span>")
        html.text(word)
        html.markup("</span>")
    }
}

/// Numbers as people read them.
enum PageFormat {
    /// What stands for a value that is not known.
    static let unknown = "–"

    /// A short duration.
    static func duration(_ seconds: Double?) -> String { seconds.flatMap(PlainText.duration) ?? unknown }

    /// A long duration, in whole seconds.
    static func span(_ seconds: Double?) -> String { duration(seconds.map { $0 < 0 ? 0 : $0.rounded(.down) }) }

    /// When something was, or will be, seen from now.
    static func moment(_ instant: Double, from now: Double) -> String {
        let distance = instant - now
        guard distance.isFinite else { return unknown }
        if distance.magnitude < 1 { return "now" }
        return distance < 0 ? "\(span(-distance)) ago" : "in \(span(distance))"
    }

    /// An amount of memory.
    static func bytes(_ count: Double?) -> String { count.flatMap(PlainText.bytes) ?? unknown }

    /// A whole number with thin spaces between its groups of three.
    static func count(_ number: UInt64) -> String {
        let digits = Array(String(number))
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text += "\u{202F}" }
            text.append(digit)
        }
        return text
    }

    static func count(_ number: Int?) -> String { number.map { count(UInt64(max(0, $0))) } ?? unknown }

    /// A share of a processor in per cent.
    static func percent(_ cores: Double?) -> String {
        guard let cores, cores.isFinite else { return unknown }
        return PlainText.number(cores * 100, places: 1) + " %"
    }

    /// An instant as RFC 3339 writes it, in UTC; `nil` for one that is no date of ours.
    static func timestamp(_ secondsSinceEpoch: Double) -> String? {
        guard (0..<253_402_300_799).contains(secondsSinceEpoch) else { return nil }
        return HealthReport.timestamp(secondsSinceEpoch)
    }
}

/// Writes HTML. Markup and text go through different doors, so that no name that a user has chosen becomes markup.
struct HTMLWriter {
    /// Longer texts are cut off: names and reasons come from users.
    static let longestText = 300

    private(set) var bytes: [UInt8] = []

    init() {
        bytes.reserveCapacity(32 << 10)
    }

    /// Writes markup as it is. Only literals are markup.
    mutating func markup(_ markup: StaticString) {
        markup.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    /// Writes one of the page's own parts: its style, its script.
    mutating func part(_ part: String) {
        bytes.append(contentsOf: part.utf8)
    }

    /// Writes a text, fit for an element's content and for an attribute in double quotes.
    mutating func text(_ text: String) {
        var count = 0
        for scalar in text.unicodeScalars {
            count += 1
            guard count <= Self.longestText else { return bytes.append(contentsOf: "…".utf8) }
            switch scalar {
            case "&": bytes.append(contentsOf: "&amp;".utf8)
            case "<": bytes.append(contentsOf: "&lt;".utf8)
            case ">": bytes.append(contentsOf: "&gt;".utf8)
            case "\"": bytes.append(contentsOf: "&quot;".utf8)
            case "'": bytes.append(contentsOf: "&#39;".utf8)
            case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}": bytes.append(contentsOf: "\u{FFFD}".utf8)
            default: bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
            }
        }
    }

    /// Writes a name that a user has chosen, whose direction of writing leaves what surrounds it alone.
    mutating func name(_ name: String) {
        markup("<bdi>")
        text(name)
        markup("</bdi>")
    }

    /// Writes an instant: what people read, with the exact time for machines and for those who point at it.
    ///
    /// - Parameters:
    ///   - instant: Seconds since 1970-01-01 00:00 UTC.
    ///   - shown: What people read.
    mutating func time(_ instant: Double, _ shown: String) {
        guard let exact = PageFormat.timestamp(instant) else { return text(shown) }
        markup("<time datetime=\"")
        text(exact)
        markup("\" title=\"")
        text(exact)
        markup("\">")
        text(shown)
        markup("</time>")
    }
}
