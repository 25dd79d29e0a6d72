// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterCommand

@Suite("The report of a check")
struct CheckReportTests {
    private func report(_ severities: Finding.Severity...) -> CheckReport {
        var report = CheckReport()
        report.add(
            severities.enumerated().map { Finding($1, Finding.Place("a.json", line: $0 + 1), "odd") }, about: "a.json")
        return report
    }

    @Test(
        "has an exit code for the worst that was found",
        arguments: [
            ([], CommandExit.success, CommandExit.success), ([.note], .success, .success),
            ([.warning, .note], .success, .unwell), ([.error], .failure, .failure),
            ([.warning, .error], .failure, .failure),
        ] as [([Finding.Severity], CommandExit, CommandExit)])
    func exits(severities: [Finding.Severity], exit: CommandExit, strict: CommandExit) {
        var report = CheckReport()
        report.add(severities.map { Finding($0, Finding.Place("x"), "\($0)") }, about: "x")
        #expect(report.exit(isStrict: false) == exit)
        #expect(report.exit(isStrict: true) == strict)
    }

    @Test("counts in its last line what there is, and tells nothing twice")
    func summary() {
        #expect(report().summary == "checked a.json: no problems found")
        var several = report(.error, .note, .note)
        #expect(several.summary == "checked a.json: 1 error, 2 notes")
        several.add(several.findings, about: "a.json")
        #expect(several.summary == "checked a.json: 1 error, 2 notes")
    }

    @Test("is quiet about notes when asked to, and sets words off with colours")
    func lines() {
        let report = report(.error, .note)
        #expect(report.lines(style: .plain) == ["error: a.json:1: odd", "note: a.json:2: odd"])
        #expect(report.lines(style: .plain, isQuiet: true) == ["error: a.json:1: odd"])
        #expect(report.lines(style: .coloured)[0] == "\u{1B}[1;31merror\u{1B}[0m: a.json:1: odd")
    }

    @Test("is a document for programs")
    func json() throws {
        let data = Data(report(.warning).json(isStrict: true).utf8)
        let object = try #require(try JSONSerialization.jsonObject(with: data) as? NSDictionary)
        #expect(
            object == [
                "schemaVersion": 1, "checked": ["a.json"], "errors": 0, "warnings": 1, "notes": 0, "exitCode": 1,
                "findings": [["severity": "warning", "source": "a.json", "line": 1, "message": "odd"]],
            ])
    }

    @Test("lets no text of a file's write to the terminal")
    func controlCharacters() {
        #expect(Finding(.note, Finding.Place("a\u{1B}b"), "c\nd").description == "note: a?b: c?d")
    }

    // MARK: All of it

    private func run(
        arguments: [String] = [], environment: [String: String] = [:], isBinding: Bool = false
    ) -> CheckReport {
        CheckRun(
            settingsFile: nil, webConfigFile: nil, arguments: arguments, environment: environment,
            isBinding: isBinding
        ).report()
    }

    @Test("tries whether the endpoint's address can be listened at")
    func binding() throws {
        let held = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "test")
        defer { held.closeDescriptor() }
        let taken = ["MUSTER_ENDPOINT_ADDRESS": "\(held.address)"]
        #expect(run(environment: taken).findings == [])
        let findings = run(environment: taken, isBinding: true).findings
        #expect(findings.map(\.severity) == [.error])
        #expect(
            findings.first?.description.hasPrefix(
                "error: environment: cannot listen at \(held.address): the port is in use") == true)
        #expect(run(environment: ["MUSTER_ENDPOINT_ADDRESS": "127.0.0.1:0"], isBinding: true).findings == [])
        #expect(
            run(environment: ["MUSTER_ENDPOINT_ADDRESS": "fd:3"], isBinding: true).findings.map(\.severity) == [.note])

        let folder = try TemporaryFolder()
        let path = folder.path("socket")
        #expect(run(arguments: ["--muster-endpoint-address", "unix:\(path)"], isBinding: true).findings == [])
        #expect(!FileManager.default.fileExists(atPath: path))
    }
}
