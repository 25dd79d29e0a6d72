// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("The status page")
struct StatusPageTests {
    private func page(_ report: StatusReport) -> String { String(decoding: StatusPage(report).bytes, as: UTF8.self) }

    @Test("makes no markup of what users have named or written")
    func escaping() {
        let evil = "<script>alert(1)</script>\"onload='x'&amp;\u{0}\u{202E}"
        var report = StatusSamples.report(name: evil)
        report.loops[0].name = evil
        report.loops[0].backend = evil
        report.loops[0].schedule = evil
        report.workers[0].backend = evil
        report.backends[0].name = evil
        report.backends[0].source = evil
        report.workers[0].lastRestartReason = evil
        report.health.checks = [CheckStatus(name: evil, levels: [evil], state: .fail, reason: evil)]
        let html = page(report)
        #expect(!html.contains("<script>alert"))
        #expect(!html.contains("\"onload"))
        #expect(!html.contains("\u{0}"))
        #expect(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;onload=&#39;x&#39;&amp;amp;\u{FFFD}"))
        #expect(html.split(separator: "<script>").count == 2, "its own one")
    }

    @Test("cuts long texts off")
    func longTexts() {
        var report = StatusSamples.report()
        report.loops[0].name = String(repeating: "x", count: 5000)
        let html = page(report)
        #expect(html.contains("xxx…</bdi>"))
        #expect(!html.contains(String(repeating: "x", count: 301)))
    }

    @Test("shows when a periodic task runs, and how long it takes, where there is one")
    func schedules() {
        var report = StatusSamples.report()
        #expect(!page(report).contains("Mean run"))
        report.loops[0].schedule = "daily at 03:00 Europe/Berlin, one worker"
        report.loops[0].meanRunSeconds = 1.25
        let html = page(report)
        #expect(html.contains("daily at 03:00 Europe/Berlin, one worker"))
        #expect(html.contains("Mean run") && html.contains("1.25 s"))
    }

    @Test("says how much it leaves out")
    func omissions() {
        var report = StatusSamples.report()
        report.omitted.workers = 120
        report.omitted.loops = 7
        let html = page(report)
        #expect(html.contains("And 120 more."))
        #expect(html.contains("And 7 more."))
        #expect(html.contains("8 loops"))
    }

    @Test("stays small enough with as many workers and loops as it shows")
    func size() {
        let report = StatusSamples.report(workers: StatusLimits.workers, loops: StatusLimits.loops)
        #expect(StatusPage(report).bytes.count < 1 << 20)
    }

    @Test("has what its script looks for, and marks nothing twice")
    func liveParts() {
        let html = page(StatusSamples.report())
        let parts = html.matches(of: /id="([a-z-]+)"(?: role="status")? data-live/).map { String($0.1) }
        #expect(
            Set(parts) == [
                "state", "facts", "charts", "health-note", "health-rows", "workers-note", "workers-rows", "loops-note",
                "loops-rows", "taken",
            ])
        #expect(Set(parts).count == parts.count)
        #expect(html.contains("id=\"connection\""))
    }

    @Test("shows what an endpoint without a source knows: the checks")
    func bare() {
        let html = page(BareStatus().look().report)
        #expect(html.contains("<h1><bdi>Muster</bdi></h1>"))
        #expect(html.contains("No checks are registered."))
        #expect(!html.contains("Looping calls"))
    }

    // MARK: Charts

    private func chart(_ values: [Double], stepped: Bool = false) -> String {
        var html = HTMLWriter()
        let at = values.indices.map { 1000 + 10 * Double($0) }
        StatusChart(
            title: "T", at: at, values: values, now: 1000 + 10 * Double(max(1, values.count - 1)), isStepped: stepped,
            format: { "\(Int($0))" }
        ).write(to: &html)
        return String(decoding: html.bytes, as: UTF8.self)
    }

    @Test("draws a line from the left edge to the right one, the highest value at the top")
    func line() {
        #expect(
            chart([0, 10, 5]).contains(
                "class=\"line\" vector-effect=\"non-scaling-stroke\" d=\"M0.0 70.5L150.0 4.5L300.0 37.5H300.0\""))
        #expect(chart([0, 10, 5]).contains("aria-label=\"T in the last 20 s: now 5, at most 10\""))
    }

    @Test("draws counts as steps from where they were")
    func steps() {
        let html = chart([7, 7, 9], stepped: true)
        #expect(html.contains("d=\"M0.0 70.5H150.0L150.0 70.5H300.0L300.0 4.5H300.0\""))
        #expect(html.contains("2 more, 9 in total"))
    }

    @Test("leaves gaps where nothing is known", arguments: [([], 0), ([.nan], 0), ([1, .nan, 2], 2), ([1, 2], 1)])
    func gaps(values: [Double], lines: Int) {
        #expect(chart(values).split(separator: "class=\"line\"", omittingEmptySubsequences: false).count - 1 == lines)
    }

    @Test("forgets what is older than a quarter of an hour")
    func old() {
        var html = HTMLWriter()
        StatusChart(title: "T", at: [0, 5000], values: [99, 1], now: 5010, format: { "\($0)" }).write(to: &html)
        #expect(!String(decoding: html.bytes, as: UTF8.self).contains("99"))
    }
}
