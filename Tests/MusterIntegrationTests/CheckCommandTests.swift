// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "muster check", .enabled(if: MusterCommandLine.isBuilt, "build the command line first: make muster"),
    .timeLimit(.minutes(5)))
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
        #expect(nothing.output == "checked settings: no problems found\n")
        let typo = ["MUSTER_LIVENES_LIMIT": "5s"]
        let warning = try await check(environment: typo)
        #expect(warning.status == 0)
        #expect(
            warning.output == """
                warning: environment: 'MUSTER_LIVENES_LIMIT' is not a setting; did you mean 'MUSTER_LIVENESS_LIMIT'?
                checked settings: 1 warning

                """)
        #expect(try await check("--strict", environment: typo).status == 1)
        let error = try await check("--", "--muster-liveness-limit", "soon")
        #expect(error.status == 2)
        #expect(error.output.hasPrefix("error: arguments: setting 'muster.liveness-limit' "))
        #expect(try await check("--nonsense").status == 64)
    }

    @Test("writes a document for programs")
    func json() async throws {
        let run = try await check("--json", environment: ["MUSTER_ABORT_GRACE": "bad"])
        #expect(run.status == 2)
        let object = try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any]
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
}
