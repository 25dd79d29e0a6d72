// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterCommand

@Suite("A check of settings")
struct SettingsCheckTests {
    private func check(
        environment: [String: String] = [:], arguments: [String] = [], file: String? = nil
    ) -> (check: SettingsCheck, lines: [String]) {
        let check = SettingsCheck(arguments: arguments, environment: environment, file: file)
        return (check, check.findings.map(\.description))
    }

    @Test("finds nothing where nothing is set, whatever else there is")
    func nothing() {
        let environment = ["PATH": "/bin", "MUSTER_BACKEND": "threading", "MUSTER_URL": "web1"]
        #expect(check(environment: environment, arguments: ["--workers", "4", "x"]).lines == [])
    }

    @Test("knows each setting that the code reads")
    func names() {
        #expect(
            Set(SettingNames.keys).isSuperset(of: [
                "muster.liveness-limit", "muster.endpoint.address", "muster.settings-file",
            ]))
        #expect(SettingNames.keys.count >= 18)
        let environment = Dictionary(uniqueKeysWithValues: SettingNames.variables.keys.map { ($0, "nonsense") })
        let lines = check(environment: environment).lines
        #expect(!lines.contains { $0.contains("is not a setting") })
        // All of them are told at once, not only the first.
        #expect(lines.count { $0.hasPrefix("error: environment: setting '") } >= 15)
    }

    @Test("tells which value cannot be used, and where it is")
    func values() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write(
            "{\n\"muster\": {\n\"liveness-limit\": \"soon\",\n\"shutdown-delay\": \"5s\" } }", to: "settings.json")
        let (check, lines) = check(
            environment: ["MUSTER_ABORT_GRACE": "0"], arguments: ["--muster-ready-condition=some"], file: file)
        #expect(
            lines.sorted() == [
                """
                error: \(file):3: setting 'muster.liveness-limit' (environment MUSTER_LIVENESS_LIMIT, argument \
                --muster-liveness-limit) is 'soon': expected a duration such as 500ms, 10s or 2m
                """,
                """
                error: arguments: setting 'muster.ready-condition' (environment MUSTER_READY_CONDITION, argument \
                --muster-ready-condition) is 'some': expected one of 'any-worker', 'every-worker'
                """,
                """
                error: environment: setting 'muster.abort-grace' (environment MUSTER_ABORT_GRACE, argument \
                --muster-abort-grace) is '0': expected a duration above zero, such as 500ms, 10s or 2m
                """,
            ])
        #expect(check.settings.shutdownDelay == .seconds(5))
        #expect(check.settings.livenessLimit == .seconds(10))
    }

    @Test("reads the file that the environment or the arguments name, arguments before environment before file")
    func sources() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write(
            #"{"muster": {"liveness-limit": "1s", "shutdown-delay": "1s", "abort-grace": 3}}"#, to: "a.json")
        let check = check(
            environment: ["MUSTER_SETTINGS_FILE": file, "MUSTER_LIVENESS_LIMIT": "2s", "MUSTER_SHUTDOWN_DELAY": "2s"],
            arguments: ["--muster-liveness-limit", "3s"]
        ).check
        #expect(check.findings == [])
        #expect(check.settings.livenessLimit == .seconds(3))
        #expect(check.settings.shutdownDelay == .seconds(2))
        #expect(check.settings.abortGrace == .seconds(3))
        #expect(check.place(of: "muster.liveness-limit")?.description == "arguments")
        #expect(check.place(of: "muster.abort-grace")?.description == "\(file):1")
    }

    @Test("tells of names that nobody reads, and which was meant")
    func unknown() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write(
            "{\"muster\": {\n\"livenes-limit\": 1,\n\"something\": {\"else\": 2},\n\"abort-grace\": 5,\n\"abort-grace\": 6},\n\"mailer\": 1}",
            to: "a.json")
        let lines = check(
            environment: ["MUSTER_LIVENES_LIMIT": "1s", "MUSTER_MY_OWN": "x"],
            arguments: ["--muster-liveness-limits=1", "--muster-mine"], file: file
        ).lines
        #expect(
            lines == [
                "warning: environment: 'MUSTER_LIVENES_LIMIT' is not a setting; did you mean 'MUSTER_LIVENESS_LIMIT'?",
                "note: environment: 'MUSTER_MY_OWN' is not a setting of Muster; only the application may read it",
                "warning: arguments: '--muster-liveness-limits' is not a setting; did you mean '--muster-liveness-limit'?",
                "note: arguments: '--muster-mine' is not a setting of Muster; only the application may read it",
                "warning: \(file):5: 'muster.abort-grace' appears twice, first in line 4; keep one of them",
                "warning: \(file):2: 'muster.livenes-limit' is not a setting; did you mean 'muster.liveness-limit'?",
                "warning: \(file):3: 'muster.something.else' is not a setting of Muster",
            ])
    }

    @Test("tells of a file that is not there, or is no JSON")
    func files() throws {
        let folder = try TemporaryFolder()
        #expect(
            check(file: folder.path("none")).lines == [
                "error: \(folder.path("none")): cannot be read: No such file or directory; check the path of the settings file"
            ])
        let pipe = folder.path("pipe")
        #expect(mkfifo(pipe, 0o600) == 0)
        #expect(
            check(file: pipe).lines == [
                "error: \(pipe): cannot be read: not a regular file; check the path of the settings file"
            ])
        let file = try folder.write("{\n\"muster\": ]\n}", to: "a.json")
        #expect(
            check(environment: ["MUSTER_SETTINGS_FILE": file]).lines == [
                "error: \(file):2: is not JSON: expected a value"
            ])
    }

    @Test("tells of values of another type, of groups that are lost, and of names in other letters")
    func types() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write(
            """
            {"muster": {"liveness-limit": true, "shutdown-delay": 5, "abort-grace": false,
              "log-options": true, "restart-method": 1, "startup-timeout": null, "arena-capacity": [65536]},
             "Muster": {"Liveness-Limit": "5s"},
             "muster": {"endpoint": {"address": "off"}}}
            """, to: "a.json")
        let (check, lines) = check(file: file)
        #expect(
            lines.map { $0.replacing(#/\(environment [^)]*\) /#, with: "") } == [
                "error: \(file):4: 'muster' appears twice, first in line 1, of which nothing would be read; join them",
                "error: \(file):1: setting 'muster.liveness-limit' is 'true': expected duration above zero",
                "error: \(file):1: setting 'muster.abort-grace' is 'false': expected duration above zero",
                "error: \(file):2: setting 'muster.restart-method' is '1': expected `reload` or `mutate`",
                "error: \(file):2: setting 'muster.startup-timeout' is 'null': expected duration; 0 for no limit",
                "error: \(file):2: setting 'muster.arena-capacity' is '[65536]': expected bytes, 4096 to 1073741824",
                "warning: \(file):3: 'Muster.Liveness-Limit' is not a setting; did you mean 'muster.liveness-limit'?",
                "note: \(file):4: the endpoint is off: there are no metrics and no probes",
            ])
        #expect(check.settings.livenessLimit == .seconds(10))
    }

    @Test("An empty variable is as good as none")
    func emptyVariable() {
        let environment = ["MUSTER_LIVENESS_LIMIT": "", "MUSTER_ENDPOINT_ADDRESS": "", "MUSTER_LOG_OPTIONS": ""]
        #expect(check(environment: environment).lines == [])
    }

    @Test(
        "tells of values that do not go together",
        arguments: [
            (
                ["MUSTER_RESTART_BACKOFF_BASE": "1m"],
                "warning: environment: muster.restart-backoff.maximum (30s) is below muster.restart-backoff.base (60s)"
            ),
            (
                ["MUSTER_ABORT_GRACE": "500ms"],
                "warning: environment: muster.abort-grace (500ms) kills a hung or crashed worker"
            ),
            (
                ["MUSTER_LIVENESS_LIMIT": "100ms"],
                "warning: environment: muster.liveness-limit (100ms) mistakes a short stall"
            ),
            (["MUSTER_STARTUP_TIMEOUT": "0.5"], "warning: environment: muster.startup-timeout (500ms) kills workers"),
            (["MUSTER_STARTUP_TIMEOUT": "0"], "note: environment: muster.startup-timeout is 0: "),
            (["MUSTER_GRACEFUL_SHUTDOWN_TIMEOUT": "0"], "note: environment: muster.graceful-shutdown-timeout is 0: "),
            (["MUSTER_ENDPOINT_ADDRESS": "off"], "note: environment: the endpoint is off: there are no metrics"),
            (
                ["MUSTER_ENDPOINT_ADDRESS": ":80"],
                "note: environment: metrics and status at :80 are readable by everybody"
            ),
            (
                ["MUSTER_RESTART_INTENSITY_MAXIMUM": "0", "MUSTER_RESTART_INTENSITY_PERIOD": "9"],
                "note: environment: the restart intensity has no effect: muster.restart-intensity.maximum is 0"
            ),
        ])
    func relations(environment: [String: String], start: String) {
        let lines = check(environment: environment).lines
        #expect(lines.count == 1)
        #expect(lines.first?.hasPrefix(start) == true, "\(lines)")
    }

    @Test(
        "finds the name that was meant, if any",
        arguments: [
            ("muster.livenes-limit", "muster.liveness-limit"), ("muster.liveness_limit", "muster.liveness-limit"),
            ("muster.log-optoins", "muster.log-options"), ("muster.colour", nil),
        ] as [(String, String?)])
    func nearest(text: String, name: String?) {
        #expect(NearestName.find(text, among: SettingNames.keys) == name)
    }
}
