// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import Testing

@testable import MusterCommand

@Suite("A status on a terminal")
struct StatusViewTests {
    private func text(_ report: StatusReport = .sample(), width: Int, style: Style = .plain) -> String {
        StatusView(report, width: width, style: style).lines.joined(separator: "\n")
    }

    @Test(
        "shows all of it where there is room, and the most important of it where there is not",
        arguments: [60, 80, 120])
    func widths(width: Int) {
        #expect(text(width: width) == Self.expected[width])
    }

    @Test("has columns for group and backend where there are several, with room for all of it")
    func wide() {
        var report = StatusReport.sample()
        report.workers[3].group = "mailer"
        report.workers[3].backend = "threading"
        report.loops[1].group = "mailer"
        report.loops[1].backend = "threading"
        #expect(text(report, width: 200) == Self.expected[200])
    }

    @Test("shows when a periodic task runs, and how long it takes, where there is one")
    func schedules() {
        var report = StatusReport.sample()
        #expect(!text(report, width: 200).contains("SCHEDULE"))
        report.loops[1].schedule = "daily at 03:00"
        report.loops[1].meanRunSeconds = 1.25
        let lines = text(report, width: 200).split(separator: "\n")
        #expect(lines.contains { $0.contains("SCHEDULE") && $0.contains("MEAN") })
        #expect(lines.contains { $0.hasPrefix("expire-1") && $0.contains("daily at 03:00") && $0.contains("1.25 s") })
    }

    private static let expected = [
        60: """
        store  degraded  supervisor, pid 4711, up 3h 12m
        live: pass  ready: warn  startup: pass
        backend: cooperative in 4 workers (the default)

        Workers  4 of 4 ready, 3 restarts
        SLOT   PID  STATE      UP  RESTARTS     CPU    MEMORY
           0  4714  ready  3h 12m         0     0 %  19.4 MiB
           1  4715  ready  3h 12m         0  1.23 %  19.5 MiB
           2  5012  ready   4.2 s         3  2.46 %  19.6 MiB
           3  4717  ready  3h 12m         0  3.69 %  19.6 MiB

        Looping calls
        LOOP      EVERY  LATE P99        LAST       NEXT  FAILED
        expire-0    1 s    930 µs  400 ms ago  in 600 ms       0
        expire-1    1 s    250 ms  400 ms ago  in 600 ms      12

        Health checks
        CHECK       STATE  LEVELS     FOUND  REASON
        supervisor  pass   live     0 s ago
        disk        warn   ready   12 s ago  91 % of /var/lib/store…
        """,
        80: """
        store  degraded  supervisor, pid 4711, up 3h 12m  Muster 0.3.0, Swift 6.3.1
        live: pass  ready: warn  startup: pass
        backend: cooperative in 4 workers (the default)

        Workers  4 of 4 ready, 3 restarts
        SLOT   PID  STATE      UP  RESTARTS  REASON     CPU    MEMORY  HEARTBEAT
           0  4714  ready  3h 12m         0             0 %  19.4 MiB        now
           1  4715  ready  3h 12m         0          1.23 %  19.5 MiB        now
           2  5012  ready   4.2 s         3  signal  2.46 %  19.6 MiB        now
           3  4717  ready  3h 12m         0          3.69 %  19.6 MiB        now

        Looping calls
        LOOP      EVERY   RUNS  LATE P50  LATE P99  DRIFT        LAST       NEXT  FAILED
        expire-0    1 s  46080     71 µs    930 µs    0 s  400 ms ago  in 600 ms       0
        expire-1    1 s  46080     71 µs    250 ms    0 s  400 ms ago  in 600 ms      12

        Health checks
        CHECK       STATE  LEVELS     FOUND  REASON
        supervisor  pass   live     0 s ago
        disk        warn   ready   12 s ago  91 % of /var/lib/store is used
        """,
        120: """
        store  degraded  supervisor, pid 4711, up 3h 12m  Muster 0.3.0, Swift 6.3.1
        live: pass  ready: warn  startup: pass
        backend: cooperative in 4 workers (the default)

        Workers  4 of 4 ready, 3 restarts
        SLOT   PID  STATE  BACKEND          UP  RESTARTS  REASON    AGO  THREADS  JOBS     CPU    MEMORY  HEARTBEAT
           0  4714  ready  cooperative  3h 12m         0                       2     6     0 %  19.4 MiB        now
           1  4715  ready  cooperative  3h 12m         0                       2     6  1.23 %  19.5 MiB        now
           2  5012  ready  cooperative   4.2 s         3  signal  4.3 s        2     6  2.46 %  19.6 MiB        now
           3  4717  ready  cooperative  3h 12m         0                       2     6  3.69 %  19.6 MiB        now

        Looping calls
        LOOP      EVERY   RUNS  LATE P50  LATE P99  DRIFT        LAST       NEXT  FAILED  OVERRUN  SKIPPED
        expire-0    1 s  46080     71 µs    930 µs    0 s  400 ms ago  in 600 ms       0        0        0
        expire-1    1 s  46080     71 µs    250 ms    0 s  400 ms ago  in 600 ms      12        0        0

        Health checks
        CHECK       STATE  LEVELS     FOUND  REASON
        supervisor  pass   live     0 s ago
        disk        warn   ready   12 s ago  91 % of /var/lib/store is used
        """,
        200: """
        store  degraded  supervisor, pid 4711, up 3h 12m  Muster 0.3.0, Swift 6.3.1
        live: pass  ready: warn  startup: pass
        backend: cooperative in 4 workers (the default)

        Workers  4 of 4 ready, 3 restarts
        GROUP   SLOT   PID  STATE  BACKEND          UP  RESTARTS  REASON    AGO  THREADS  JOBS     CPU    MEMORY  HEARTBEAT
        store      0  4714  ready  cooperative  3h 12m         0                       2     6     0 %  19.4 MiB        now
        store      1  4715  ready  cooperative  3h 12m         0                       2     6  1.23 %  19.5 MiB        now
        store      2  5012  ready  cooperative   4.2 s         3  signal  4.3 s        2     6  2.46 %  19.6 MiB        now
        mailer     3  4717  ready  threading    3h 12m         0                       2     6  3.69 %  19.6 MiB        now

        Looping calls
        GROUP   LOOP      BACKEND      EVERY   RUNS  LATE P50  LATE P99  DRIFT        LAST       NEXT  FAILED  OVERRUN  SKIPPED
        store   expire-0  cooperative    1 s  46080     71 µs    930 µs    0 s  400 ms ago  in 600 ms       0        0        0
        mailer  expire-1  threading      1 s  46080     71 µs    250 ms    0 s  400 ms ago  in 600 ms      12        0        0

        Health checks
        CHECK       STATE  LEVELS     FOUND  REASON
        supervisor  pass   live     0 s ago
        disk        warn   ready   12 s ago  91 % of /var/lib/store is used
        """,
    ]

    @Test("is never wider than the terminal, and has no space at a line's end", arguments: 1...210)
    func fits(width: Int) {
        var report = StatusReport.sample()
        report.workers[1].state = .backoff
        report.workers[1].backoffSeconds = 0.64
        report.workers[3].group = "a service with a very long name, with \u{65E5}\u{672C}\u{8A9E} in it"
        report.loops[0].name = String(repeating: "long-", count: 30)
        for line in StatusView(report, width: width, style: .plain).lines {
            #expect(TextWidth.of(line) <= width, "\(line)")
            #expect(!line.hasSuffix(" "))
        }
    }

    @Test("says with colours nothing that it does not say with words")
    func colours() throws {
        let coloured = text(width: 120, style: .coloured)
        #expect(coloured.contains("\u{1B}[33mdegraded\u{1B}[0m"))
        #expect(coloured.replacing(/\u{1B}\[[0-9;]*m/, with: "") == text(width: 120))
    }

    @Test("lets no text of the service's write to the terminal")
    func controlCharacters() {
        var report = StatusReport.sample()
        report.name = "store\u{1B}[2J"
        report.loops[0].name = "a\nb\u{202E}c"
        report.health.checks[1].reason = "\u{9B}31m\r"
        let text = text(report, width: 200)
        #expect(text.contains("store?[2J"))
        #expect(text.contains("a?b?c"))
        #expect(text.contains("?31m?"))
        #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || $0.properties.generalCategory != .control })
    }

    @Test("names group and backend of each worker where there are several")
    func groups() {
        var report = StatusReport.sample()
        report.workers[3].group = "mailer"
        report.workers[3].backend = "threading"
        report.workers[3].state = .hung
        report.workers[3].heartbeatAgeSeconds = 12.4
        report.workers[3].isReadable = false
        report.groups.append(WorkerGroupStatus(name: "mailer", wantedWorkers: 1, readyWorkers: 0))
        report.groups[1].restartsTooOften = true
        report.groups[1].restarts = 61
        report.omitted.workers = 120
        report.isReloading = true
        let text = text(report, width: 200)
        #expect(text.contains("Workers  store: 4 of 4 ready, 3 restarts; mailer: 0 of 1 ready, 61 restarts (too many)"))
        #expect(text.contains(/\nmailer +3 +4717 +hung +threading .* 12\.4 s ago +damaged\n/))
        #expect(text.contains("\nand 120 workers more\n"))
        #expect(text.contains("a reload is under way"))
    }

    @Test("leaves out what there is none of")
    func oneProcess() {
        var report = StatusReport(
            at: StatusReport.now, name: "mailer", mode: .endpoint, version: VersionStatus(), process: .init(pid: 7))
        report.state = .failing
        report.health.live = .fail
        let expected = """
            mailer  failing  endpoint only, pid 7
            live: fail  ready: pass  startup: pass
            """
        #expect(text(report, width: 80) == expected)
    }
}
