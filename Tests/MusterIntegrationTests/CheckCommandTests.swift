// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "muster check", .enabled(if: MusterCommandLine.isBuilt, "build the command line first: make muster"),
    .timeLimit(.minutes(1)))
struct CheckCommandTests {
    /// What this process has in its environment is none of the tests' business.
    private func check(_ arguments: String..., environment: [String: String] = [:]) async throws
        -> MusterCommandLine.Run
    {
        try await check(arguments, environment: environment)
    }

    private func check(_ arguments: [String], environment: [String: String] = [:]) async throws
        -> MusterCommandLine.Run
    {
        let names = ProcessInfo.processInfo.environment.keys.filter { $0.hasPrefix("MUSTER_") }
        let binary = try #require(MusterCommandLine.binary)
        let program = try Program(
            "/usr/bin/env",
            names.flatMap { ["-u", $0] } + environment.map { "\($0.key)=\($0.value)" } + [binary, "check"] + arguments)
        let status = try await program.status()
        return MusterCommandLine.Run(status: status, output: program.output, errors: program.errors)
    }

    @Test("has an exit code for nothing, for warnings and for errors")
    func exits() async throws {
        let nothing = try await check()
        #expect(nothing.status == 0)
        #expect(nothing.output == "checked settings: nothing to object to\n")
        let typo = ["MUSTER_LIVENES_LIMIT": "5s"]
        let warning = try await check(environment: typo)
        #expect(warning.status == 0)
        #expect(
            warning.output == """
                warning: environment: 'MUSTER_LIVENES_LIMIT' is no setting; did you mean 'MUSTER_LIVENESS_LIMIT'?
                checked settings: 1 warning

                """)
        #expect(try await check("--strict", environment: typo).status == 1)
        let error = try await check("--", "--muster-liveness-limit", "soon")
        #expect(error.status == 2)
        #expect(error.output.hasPrefix("error: arguments: setting 'muster.liveness-limit' "))
        #expect(try await check("--nonsense").status == 64)
    }

    @Test("finds what is wrong with a bad unit, and its settings")
    func units() async throws {
        let folder = try TemporaryFolder()
        let service = try folder.write(
            """
            [Service]
            Type=notify
            ExecStart=/opt/mailer/mailer --muster-shutdown-delay 15s
            ExecReload=kill -HUP $MAINPID
            Environment=MUSTER_ENDPOINT_ADDRESS=systemd:metrics
            KillMode=mixed
            TimeoutStopSec=70
            WatchdogSec=30
            Restart=on-failure
            OOMPolicy=continue
            """, to: "mailer.service")
        let socket = try folder.write("[Socket]\nListenStream=9917\nFileDescriptorName=metric\n", to: "mailer.socket")
        // What the shell has counts for units in nothing.
        let run = try await check("--unit", service, socket, "--quiet", environment: ["MUSTER_ABORT_GRACE": "bad"])
        #expect(run.status == 2)
        #expect(
            run.output == """
                error: \(service):5: systemd:metrics is none of the sockets that mailer.service is given ('metric'); set \
                FileDescriptorName=metrics in the socket unit
                error: \(service):7: TimeoutStopSec is 70 s, which is not more than muster.shutdown-delay (15 s) and \
                muster.graceful-shutdown-timeout (60 s) together, so that systemd kills what still stops; set \
                TimeoutStopSec to at least 80

                """)
        let json = try await check("--json", "--unit", service)
        #expect(json.status == 2)
        let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
        #expect(object?["errors"] as? Int == 1)
        #expect(object?["exitCode"] as? Int == 2)
    }

    @Test("reads the settings' file that it is told of, by an option or the environment")
    func settingsFile() async throws {
        let folder = try TemporaryFolder()
        let good = try folder.write(#"{"muster": {"liveness-limit": "30s"}}"#, to: "good.json")
        #expect(
            try await check("--settings-file", good, "--bind", "--", "--muster-endpoint-address", "127.0.0.1:0").status
                == 0)
        let bad = try folder.write("{\"muster\": {\n\"liveness-limit\": \"never\"}}", to: "bad.json")
        let run = try await check(environment: ["MUSTER_SETTINGS_FILE": bad])
        #expect(run.status == 2)
        #expect(run.output.hasPrefix("error: \(bad):2: setting 'muster.liveness-limit' "))
    }

    @Test("finds nothing in the units that are shipped")
    func shippedUnits() async throws {
        let folder = Self.root.appendingPathComponent("deploy/systemd").path
        let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
            .filter { $0.hasSuffix(".service") || $0.hasSuffix(".socket") }
        #expect(names.count >= 2)
        let run = try await check(["--strict", "--unit"] + names.map { "\(folder)/\($0)" })
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.hasSuffix(": nothing to object to\n"), "\(run.output)")
    }

    @Test("finds nothing in the units that the documentation shows")
    func documentedUnits() async throws {
        let page = try String(contentsOf: Self.root.appendingPathComponent("docs/operations.md"), encoding: .utf8)
        let units = page.matches(of: /```ini\n(.*?)```/.dotMatchesNewlines()).map { String($0.1) }
        let folder = try TemporaryFolder()
        let service = try folder.write(try #require(units.first { $0.contains("[Service]") }), to: "mailer.service")
        let socket = try folder.write(try #require(units.first { $0.contains("[Socket]") }), to: "mailer.socket")
        let run = try await check(["--strict", "--unit", service, socket, "--", "--http", "systemd:http"])
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.hasSuffix(": nothing to object to\n"), "\(run.output)")
    }

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
}
