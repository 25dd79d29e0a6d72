// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Health reports")
struct HealthReportTests {
    private func report(
        _ entries: [HealthReport.Entry], unmatched: [String] = [], level: HealthLevel = .live
    ) -> HealthReport {
        HealthReport(level: level, entries: entries, unmatchedExclusions: unmatched)
    }

    @Test("The worst entry decides; an excluded one does not count")
    func status() {
        let pass = HealthReport.Entry(name: "a", result: .pass)
        let warn = HealthReport.Entry(name: "b", result: .warn("full soon"))
        let fail = HealthReport.Entry(name: "c", result: .fail("gone"))
        #expect(report([pass]).status == .pass)
        #expect(report([pass, warn]).status == .warn)
        #expect(report([warn, fail, pass]).status == .fail)
        #expect(report([pass, warn]).isPassing)
        #expect(!report([warn, fail]).isPassing)
        #expect(report([HealthReport.Entry(name: "c", result: .pass, isExcluded: true)]).status == .pass)
    }

    @Test("A passing report is ok alone unless asked for more")
    func passing() {
        let passing = report([
            HealthReport.Entry(name: "ping", result: .pass), HealthReport.Entry(name: "disk", result: .warn("91 %")),
        ])
        #expect(passing.text(isVerbose: false) == "ok")
        #expect(
            passing.text(isVerbose: true) == "[+]ping ok\n[+]disk ok (warning: 91 %)\nlivez check passed\n")
        #expect(
            passing.text(isVerbose: true, endpointName: "healthz")
                == "[+]ping ok\n[+]disk ok (warning: 91 %)\nhealthz check passed\n")
    }

    @Test("A failing report always has all lines, the reason only when asked for")
    func failing() {
        let failing = report(
            [
                HealthReport.Entry(name: "ping", result: .pass),
                HealthReport.Entry(name: "db", result: .fail("no route")),
                HealthReport.Entry(name: "cache", result: .pass, isExcluded: true),
            ], level: .ready)
        #expect(
            failing.text(isVerbose: false)
                == "[+]ping ok\n[-]db failed: reason withheld\n[+]cache excluded: ok\nreadyz check failed\n")
        #expect(
            failing.text(isVerbose: true)
                == "[+]ping ok\n[-]db failed: no route\n[+]cache excluded: ok\nreadyz check failed\n")
    }

    @Test("Names that could not be excluded are told, without control characters")
    func unmatched() {
        let text = report([HealthReport.Entry(name: "ping", result: .pass)], unmatched: ["x", "y\n[-]z"])
            .text(isVerbose: true)
        #expect(
            text
                == "[+]ping ok\nwarn: some health checks cannot be excluded: no matches for \"x\",\"y [-]z\"\nlivez check passed\n"
        )
    }

    @Test("Reasons become one bounded line")
    func bounded() {
        #expect(HealthResult.fail("a\r\nb\u{0}c").bounded == .fail("a  b c"))
        #expect(HealthResult.warn("").bounded == .warn("no reason given"))
        #expect(HealthResult.pass.bounded == .pass)
        let long = HealthResult.fail(String(repeating: "ü", count: 10_000)).bounded
        #expect(long.reason?.unicodeScalars.count == 501)
        #expect(long.reason?.hasSuffix("…") == true)
    }

    @Test("health+json has the checks, and escapes what must be")
    func json() {
        let now = MonotonicInstant(nanoseconds: 1_000)
        let failing = report(
            [
                HealthReport.Entry(name: "ping", result: .pass),
                HealthReport.Entry(name: "db", result: .fail("say \"no\"\\\u{1}ü")),
                HealthReport.Entry(name: "cache", result: .pass, isExcluded: true),
            ], unmatched: ["\"\n"])
        #expect(
            failing.json(isVerbose: true, now: now)
                == #"{"status":"fail","checks":{"ping":[{"status":"pass"}],"#
                + #""db":[{"status":"fail","output":"say \"no\"\\\u0001ü"}]},"#
                + #""notes":["cache excluded","no check named \"\"\n\" to exclude"]}"# + "\n")
        #expect(failing.json(isVerbose: false, now: now).contains(#""output":"reason withheld""#))
        #expect(
            report([HealthReport.Entry(name: "ping", result: .pass)]).json(isVerbose: false, now: now)
                == #"{"status":"pass","checks":{"ping":[{"status":"pass"}]}}"# + "\n")
    }

    @Test(
        "Instants are written as RFC 3339",
        arguments: [
            (0.0, "1970-01-01T00:00:00.000Z"), (951_827_696.7894, "2000-02-29T12:34:56.789Z"),
            (1_767_225_599.9999, "2026-01-01T00:00:00.000Z"),
        ])
    func timestamp(seconds: Double, text: String) {
        #expect(HealthReport.timestamp(seconds) == text)
    }

    @Test(
        "Durations are written for people",
        arguments: [
            (Duration.milliseconds(250), "250ms"), (.seconds(1), "1s"), (.milliseconds(1500), "1.5s"),
            (.milliseconds(2050), "2.05s"), (.seconds(3600), "3600s"), (.milliseconds(90_500), "90s"), (.zero, "0ms"),
        ])
    func durations(duration: Duration, text: String) {
        #expect(HealthResult.text(duration) == text)
    }
}
