// SPDX-License-Identifier: Apache-2.0

import Foundation
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

    @Test(
        "warns of certificates that are not valid, the server's and the authorities'",
        .enabled(if: TestCertificates.areAvailable, "install openssl"))
    func certificates() throws {
        let made = try TestCertificates()
        func config(_ name: String, _ more: String = "") -> String {
            "tls_server_config:\n  cert_file: \(made.certificate(name))\n  key_file: \(made.key(name))\n\(more)"
        }
        #expect(try lines(config("server")).map { $0.prefix(5) } == ["note:"])
        let expired = try lines(config("expired"))
        #expect(expired.count == 2)
        #expect(
            expired[0].hasPrefix(
                "warning: web.yml:2: tls_server_config: a certificate of cert_file ('\(made.certificate("expired"))') "
                    + "expired at "))
        #expect(expired[0].contains(".000Z; "))
        let authorities = config(
            "server",
            "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: \(made.certificate("expired"))\n")
        #expect(try lines(authorities).first?.hasPrefix("warning: web.yml:5: ") == true)
        // One that is valid is enough.
        let both = try made.folder.write(
            String(contentsOfFile: made.certificate("expired"), encoding: .utf8)
                + String(contentsOfFile: made.certificate("ca"), encoding: .utf8), to: "both.pem")
        #expect(try lines(authorities.replacing(made.certificate("expired"), with: both)).count == 1)
    }

    @Test("tells of one that is not there")
    func missing() {
        #expect(WebConfigCheck.findings(file: "/nonexistent/web.yml").map(\.severity) == [.error])
    }
}
