// SPDX-License-Identifier: Apache-2.0

import MusterTestSupport
import Testing

@testable import MusterCommand

@Suite("A check of a web config file")
struct WebConfigCheckTests {
    private func lines(_ text: String) throws -> [String] {
        let folder = try TemporaryFolder()
        let file = try folder.write(text, to: "web.yml")
        let report = CheckRun(
            settingsFile: nil, webConfigFile: file, arguments: [], environment: [:], isBinding: false
        ).report()
        #expect(report.subjects == ["settings", file])
        return report.findings.map { $0.description.replacing(file, with: "web.yml") }
    }

    @Test("says what a good one demands")
    func good() throws {
        let hash = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
        #expect(try lines("basic_auth_users:\n  alice: \(hash)\n") == ["note: web.yml: no TLS; basic auth: 1 user"])
    }

    @Test("tells the line of a bad one")
    func bad() throws {
        let found = try lines("basic_auth_users:\n  alice: secret\n")
        #expect(found.count == 1)
        #expect(found.first?.hasPrefix("error: web.yml:2: ") == true, "\(found)")
        #expect(!found.joined().contains("secret"))
    }

    @Test("tells of one that is not there")
    func missing() {
        #expect(WebConfigCheck.findings(file: "/nonexistent/web.yml").map(\.severity) == [.error])
    }
}
