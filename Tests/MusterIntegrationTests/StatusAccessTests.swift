// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "muster status of a guarded service",
    .enabled(if: MusterCommandLine.isBuilt, "build the command line first: make muster"),
    .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
    .enabled(if: TestCertificates.areAvailable, "install openssl"), .timeLimit(.minutes(2)))
struct StatusAccessTests {
    /// A demo with a web config file that names files beside it.
    private func demo(_ config: String) async throws -> (demo: Demo, certificates: TestCertificates) {
        let certificates = try TestCertificates()
        let file = try certificates.folder.write(config, to: "web.yml")
        let demo = try await Demo(backend: nil, options: ["--web-config-file", file, "--loops", "1"])
        return (demo, certificates)
    }

    private func run(_ arguments: [String], environment: [String: String] = [:]) async throws -> MusterCommandLine.Run {
        let program = try MusterCommandLine.start(["status"] + arguments, environment: environment)
        let status = try await program.status()
        return MusterCommandLine.Run(status: status, output: program.output, errors: program.errors)
    }

    @Test("trusts whom it is told to, shows its password, and otherwise says what is missing")
    func password() async throws {
        // The password is `muster`, and so it is in the sample that is shipped.
        let (demo, certificates) = try await demo(
            """
            tls_server_config: {cert_file: server.pem, key_file: server.key}
            basic_auth_users:
              prometheus: \(Self.hash)
            """)
        let url = demo.ready.endpoint
        #expect(url.hasPrefix("https://"))
        let trust = ["--ca-file", certificates.certificate("ca"), url]
        let user = ["--user", "prometheus"]
        let file = try certificates.folder.write("muster\n", to: "password")

        let known = try await run(user + ["--password-file", file] + trust)
        #expect(known.status == 0, "\(known)")
        #expect(known.output.hasPrefix("store  ready  one process, pid \(demo.ready.pid), "))
        let insecure = try await run(user + ["--insecure", url], environment: ["MUSTER_PASSWORD": "muster"])
        #expect(insecure.status == 0, "\(insecure)")

        let cases: [(arguments: [String], password: String, message: String)] = [
            (trust, "", "HTTP status 401"), (trust, "", "use --user with --password-file"),
            (user + trust, "wrong", "HTTP status 401"),
            (user + [url], "muster", "its certificate is not trusted: "), (user + [url], "muster", "--ca-file"),
            (["--ca-file", "/nonexistent", url], "", "a file of --ca-file, --cert or --key cannot be used"),
            ([url.replacing("https://", with: "http://")], "", "is it https://?"),
        ]
        for (arguments, password, message) in cases {
            let run = try await run(arguments, environment: ["MUSTER_PASSWORD": password])
            #expect(run.status == 2, "\(run)")
            #expect(run.output == "")
            #expect(run.errors.contains(message), "\(run)")
        }
    }

    private static let hash: String = {
        let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let sample = try? String(
            contentsOf: here.appendingPathComponent("deploy/web-config/basic-auth.yml"), encoding: .utf8)
        return sample?.firstMatch(of: /\n +prometheus: *(\S+)/).map { String($0.1) } ?? "no sample"
    }()

    @Test("shows its own certificate where one is asked for")
    func clientCertificate() async throws {
        let (demo, certificates) = try await demo(
            """
            tls_server_config:
              cert_file: server.pem
              key_file: server.key
              client_ca_file: ca.pem
              client_auth_type: RequireAndVerifyClientCert
            """)
        let trust = ["--ca-file", certificates.certificate("ca"), demo.ready.endpoint]
        func own(_ name: String) -> [String] {
            ["--cert", certificates.certificate(name), "--key", certificates.key(name)]
        }
        let known = try await run(own("prometheus") + trust)
        #expect(known.status == 0, "\(known)")
        for arguments in [trust, own("stranger") + trust] {
            let unknown = try await run(arguments)
            #expect(unknown.status == 2, "\(unknown)")
            #expect(unknown.errors.contains("--cert and --key"), "\(unknown)")
        }
        // A key of another certificate's.
        let mixed = try await run(
            ["--cert", certificates.certificate("prometheus"), "--key", certificates.key("nobody")] + trust)
        #expect(mixed.status == 2)
        #expect(mixed.errors.contains("a file of --ca-file, --cert or --key cannot be used"), "\(mixed)")
    }

    @Test("says what speaks no TLS where it is wanted")
    func plain() async throws {
        let server = try CannedServer(status: "200 OK", body: "")
        let run = try await run([server.url.replacing("http://", with: "https://")])
        #expect(run.status == 2)
        #expect(run.errors.contains("TLS failed"), "\(run)")
        #expect(server.requests.count == 1)
    }
}
