// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import MusterCommand

@Suite("A check of systemd units")
struct UnitCheckTests {
    private static let good = """
        [Unit]
        Requires=mailer.socket
        [Service]
        Type=notify
        ExecStart=/opt/mailer/mailer
        ExecReload=kill -HUP $MAINPID
        KillMode=mixed
        TimeoutStopSec=70
        WatchdogSec=30
        Restart=on-failure
        OOMPolicy=continue
        """

    private static let socket = "[Socket]\nListenStream=8080\nFileDescriptorName=http"

    private func check(
        _ service: String, sockets: [String: String] = [:], files: [String: String] = [:], arguments: [String] = []
    ) -> [String] {
        let units = [("mailer.service", service)] + sockets.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        let check = UnitCheck(units.map { (path: $0.0, text: $0.1) }, base: SettingsInput(arguments: arguments)) {
            path in
            files[path].map { .success($0) } ?? .failure(ReadFailure("No such file or directory"))
        }
        return check.findings.flatMap(\.findings).map(\.description)
    }

    @Test("finds nothing in a good one")
    func good() {
        #expect(check(Self.good) == [])
        #expect(check(Self.good, sockets: ["mailer.socket": Self.socket]) == [])
    }

    @Test(
        "finds what a line does wrong, and says what to write",
        arguments: [
            ("Type=notify", "Type=simple", "warning: mailer.service:4: Type=simple: systemd does not learn"),
            ("Type=notify\n", "", "warning: mailer.service:3: Type is not set, which means simple"),
            ("Type=notify", "Type=forking", "error: mailer.service:4: Type=forking is for programs that go into"),
            (
                "Type=notify", "Type=notify-reload\nReloadSignal=SIGUSR1",
                "error: mailer.service:5: ReloadSignal=SIGUSR1"
            ),
            ("KillMode=mixed\n", "", "warning: mailer.service:3: KillMode is not set, so that systemd sends SIGTERM"),
            ("KillMode=mixed", "KillMode=control-group", "warning: mailer.service:7: KillMode=control-group, so that"),
            ("KillMode=mixed", "KillMode=process", "warning: mailer.service:7: KillMode=process leaves behind"),
            ("KillMode=mixed", "KillMode=none", "error: mailer.service:7: KillMode=none lets nothing be ended"),
            ("Restart=on-failure", "Restart=no", "warning: mailer.service:10: Restart=no: if the supervisor dies"),
            ("Restart=on-failure", "Restart=on-abort", "warning: mailer.service:10: Restart=on-abort does not start"),
            ("OOMPolicy=continue", "", "warning: mailer.service:3: OOMPolicy is not set, which means stop"),
            ("OOMPolicy=continue", "OOMPolicy=kill", "warning: mailer.service:11: OOMPolicy=kill: systemd ends"),
            ("ExecReload=kill -HUP $MAINPID\n", "", "note: mailer.service:3: `systemctl reload` is refused"),
            (
                "TimeoutStopSec=70", "TimeoutStopSec=30",
                """
                error: mailer.service:8: TimeoutStopSec is 30 s, which is not more than muster.shutdown-delay (0 s) \
                and muster.graceful-shutdown-timeout (60 s) together, so that systemd kills what still stops; set \
                TimeoutStopSec to at least 65
                """
            ),
            ("TimeoutStopSec=70", "TimeoutSec=1min 1s", "warning: mailer.service:8: TimeoutSec is 61 s, hardly more"),
            (
                "TimeoutStopSec=70", "TimeoutStopSec=62",
                "warning: mailer.service:8: TimeoutStopSec is 62 s, hardly more"
            ),
            (
                "TimeoutStopSec=70", "TimeoutStopSec=soon",
                "error: mailer.service:8: TimeoutStopSec=soon is no time span"
            ),
            (
                "TimeoutStopSec=70", "TimeoutStopSec=70\nTimeoutStartSec=45",
                "warning: mailer.service:9: TimeoutStartSec is 45 s, which is not more than muster.startup-timeout (60 s)"
            ),
            (
                "WatchdogSec=30", "WatchdogSec=5",
                "warning: mailer.service:9: WatchdogSec is 5 s, less than muster.liveness-limit (10 s)"
            ),
            ("WatchdogSec=30\n", "", "note: mailer.service:3: without WatchdogSec= nobody notices"),
            ("WatchdogSec=30", "WatchdogSec=later", "error: mailer.service:9: WatchdogSec=later is no time span"),
            (
                "[Service]", "[Serivce]",
                "warning: mailer.service:3: [Serivce] is no section of such a unit; did you mean [Service]?"
            ),
            (
                "Requires=mailer.socket", "nonsense",
                "warning: mailer.service:2: 'nonsense' is no setting; one is written Name=value"
            ),
            ("ExecStart=/opt/mailer/mailer\n", "", "error: mailer.service:3: it starts nothing; set ExecStart="),
            (
                "ExecStart=/opt/mailer/mailer", "ExecStart=mailer",
                "note: mailer.service:5: 'mailer' is no absolute path"
            ),
            (
                "ExecStart=/opt/mailer/mailer", "ExecStart=/opt/m \"x",
                "warning: mailer.service:5: ExecStart= has a quotation"
            ),
        ])
    func lines(old: String, new: String, start: String) {
        let lines = check(Self.good.replacing(old, with: new))
        #expect(lines.contains { $0.hasPrefix(start) }, "\(lines)")
        if !new.contains("Serivce") { #expect(lines.count == 1, "\(lines)") }
    }

    @Test("takes systemd's own time-outs where the unit has none")
    func defaults() {
        let unit = Self.good.replacing("TimeoutStopSec=70\n", with: "")
        #expect(check(unit) == [])
        #expect(
            check(unit, arguments: ["--muster-shutdown-delay", "30s"]) == [
                """
                error: mailer.service:3: TimeoutStopSec is not set, which means 90 s, which is not more than \
                muster.shutdown-delay (30 s) and muster.graceful-shutdown-timeout (60 s) together, so that systemd \
                kills what still stops; set TimeoutStopSec to at least 95
                """
            ])
    }

    @Test("lets the policy for memory be where it is another by default")
    func delegation() {
        #expect(check(Self.good.replacing("OOMPolicy=continue", with: "Delegate=yes")) == [])
    }

    @Test("lets an endless time-out be")
    func endless() {
        let unit = Self.good.replacing("TimeoutStopSec=70", with: "TimeoutStopSec=infinity\nTimeoutStartSec=0")
        #expect(check(unit, arguments: ["--muster-graceful-shutdown-timeout=2h"]) == [])
        let endless = check(Self.good, arguments: ["--muster-graceful-shutdown-timeout=0"])
        #expect(
            endless.contains { $0.hasPrefix("warning: mailer.service:8: TimeoutStopSec is 70 s, and muster.graceful") })
    }

    @Test("reads the settings that the unit gives the program, each with its line")
    func settings() {
        let unit = Self.good.replacing(
            "ExecStart=/opt/mailer/mailer",
            with: """
                Environment="MUSTER_SHUTDOWN_DELAY=15s" MUSTER_LIVENES_LIMIT=5s
                Environment=MUSTER_ABORT_GRACE=never MUSTER_ARENA_CAPACITY=%i
                EnvironmentFile=/etc/default/mailer
                EnvironmentFile=-/etc/default/none
                EnvironmentFile=/etc/default/missing
                ExecStart=-/opt/mailer/mailer --muster-restart-method=always $OPTIONS
                """)
        let lines = check(
            unit, files: ["/etc/default/mailer": "# defaults\nMUSTER_STARTUP_TIMEOUT=\"soon\"\n\nOTHER=1\n"])
        let starts = [
            "error: /etc/default/mailer:2: setting 'muster.startup-timeout'",
            "warning: mailer.service:5: 'MUSTER_LIVENES_LIMIT' is no setting; did you mean 'MUSTER_LIVENESS_LIMIT'?",
            "note: mailer.service:6: 'MUSTER_ARENA_CAPACITY' has a specifier that only systemd can fill in",
            "error: mailer.service:6: setting 'muster.abort-grace'",
            "note: mailer.service:9: the settings in /etc/default/missing were not checked: it cannot be read: No such",
            "error: mailer.service:10: setting 'muster.restart-method'",
            "error: mailer.service:13: TimeoutStopSec is 70 s, which is not more than muster.shutdown-delay (15 s)",
        ]
        #expect(lines.count == starts.count, "\(lines)")
        for (line, start) in zip(lines, starts) { #expect(line.hasPrefix(start)) }
    }

    // MARK: Sockets

    private static let withSocket = good.replacing(
        "ExecStart=/opt/mailer/mailer",
        with: "Environment=MUSTER_ENDPOINT_ADDRESS=systemd:metrics\nExecStart=/opt/mailer/mailer --http systemd:http")

    @Test("compares the sockets that are wanted with those that are given")
    func sockets() {
        let metrics = "[Socket]\nListenStream=9917\nFileDescriptorName=metrics\nService=mailer.service"
        #expect(check(Self.withSocket, sockets: ["mailer.socket": Self.socket, "metrics.socket": metrics]) == [])
        #expect(
            check(Self.withSocket, sockets: ["mailer.socket": Self.socket]) == [
                """
                error: mailer.service:5: systemd:metrics is none of the sockets that mailer.service is given ('http'); \
                set FileDescriptorName=metrics in the socket unit
                """
            ])
        #expect(
            check(Self.withSocket) == [
                "note: mailer.service:5: systemd:metrics is a socket of a socket unit; name that unit, too, to have it checked",
                "note: mailer.service:6: systemd:http is a socket of a socket unit; name that unit, too, to have it checked",
            ])
        let twice = check(
            Self.withSocket.replacing("systemd:metrics", with: "off"),
            sockets: ["mailer.socket": Self.socket, "two.socket": Self.socket + "\nService=mailer.service"])
        #expect(
            twice.contains {
                $0.hasPrefix("error: mailer.service:6: several socket units hand over a socket named 'http'")
            })
    }

    @Test(
        "finds what is wrong with a socket unit",
        arguments: [
            (
                "[Socket]\nListenStream=80\nAccept=yes",
                "error: mailer.socket:3: Accept=yes hands over single connections"
            ),
            (
                "[Socket]\nListenStream=80\nFileDescriptorName=a:b",
                "error: mailer.socket:3: 'a:b' is no name of a socket"
            ),
            ("[Socket]\nFileDescriptorName=http", "error: mailer.socket:1: it listens nowhere; set ListenStream="),
            (
                "[Socket]\nListenStream=80\nService=other.service",
                "warning: mailer.socket:3: its socket is handed to other.service; set Service=mailer.service if"
            ),
        ])
    func socketUnits(text: String, start: String) {
        let lines = check(Self.good, sockets: ["mailer.socket": text])
        #expect(lines.count == 1)
        #expect(lines.first?.hasPrefix(start) == true, "\(lines)")
    }

    @Test("takes a socket's own name where it has no other, and one that the service lists")
    func socketNames() {
        let unit = Self.good.replacing(
            "ExecStart=/opt/mailer/mailer",
            with: "Sockets=other.socket\nExecStart=/opt/mailer/mailer --http=systemd:other.socket")
        #expect(check(unit, sockets: ["other.socket": "[Socket]\nListenStream=80"]) == [])
    }

    @Test("looks only at the form of other units")
    func others() {
        #expect(
            check(Self.good, sockets: ["mailer.timer": "[Timer]\nOnCalendar=daily"]).contains {
                $0.hasPrefix("note: mailer.timer: is no .service or .socket unit")
            })
    }
}
