// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterHTTP
import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

private let hasTools = TestCertificates.areAvailable && find("curl") != nil

@Suite("Access: TLS", .enabled(if: hasTools, "install openssl and curl"))
struct TLSTests {
    /// Made once; each takes a few milliseconds.
    private static let made = Result { try TestCertificates() }

    private let certificates: TestCertificates

    init() throws {
        certificates = try Self.made.get()
    }

    /// A web config file that serves with one of the certificates.
    private func config(_ name: String = "server", _ more: String...) -> String {
        (["tls_server_config:", "cert_file: \(certificates.certificate(name))", "key_file: \(certificates.key(name))"]
            + more).joined(separator: "\n  ") + "\n"
    }

    private func clients(_ policy: String, _ more: String...) -> String {
        config("server", "client_auth_type: \(policy)")
            + (policy.contains("Verify") ? "  client_ca_file: \(certificates.certificate("ca"))\n" : "")
            + more.map { "  \($0)\n" }.joined()
    }

    private func bench(_ config: WebConfigFolder, opensProbes: Bool = false) throws -> EndpointBench {
        try EndpointBench {
            $0.webConfigFile = config.file
            $0.opensProbes = opensProbes
            $0.webConfigSettlingTime = .zero
            // A connection that a test keeps may have to wait for its turn longer than usual, when others keep the
            // machine busy.
            $0.idleTimeout = .seconds(3600)
        }
    }

    private struct Answer {
        var status: Int32
        var body: String
        var errors: String
        /// The HTTP status; 0 without an answer.
        var code: Int
    }

    /// Asks with curl, which trusts `ca`.
    private func curl(
        _ bench: EndpointBench, _ path: String = "/livez", as client: String? = nil, with options: [String] = []
    ) async throws -> Answer {
        let url = try #require(bench.endpoint.url)
        var arguments = ["-sS", "--max-time", "30", "--cacert", certificates.certificate("ca"), "-w", "\n%{http_code}"]
        if let client {
            arguments += ["--cert", certificates.certificate(client), "--key", certificates.key(client)]
        }
        let program = try Program(find("curl") ?? "curl", arguments + options + [url + path])
        let status = try await program.status()
        let lines = program.output.split(separator: "\n", omittingEmptySubsequences: false)
        return Answer(
            status: status, body: lines.dropLast().joined(separator: "\n"), errors: program.errors,
            code: Int(lines.last ?? "") ?? 0)
    }

    @Test("Everything is served over it, in parts, on one connection and several at once")
    func serves() async throws {
        let config = try WebConfigFolder(config())
        let bench = try EndpointBench(padding: 300_000) { $0.webConfigFile = config.file }
        #expect(bench.endpoint.url?.hasPrefix("https://127.0.0.1:") == true)
        #expect(try await curl(bench).body == "ok")
        #expect(try await curl(bench, "/metrics").body.utf8.count > 300_000)
        #expect(try await curl(bench, "/metrics", with: ["--compressed"]).body.utf8.count > 300_000)
        let url = try #require(bench.endpoint.url)
        let several = try await curl(
            bench, "/livez", with: ["--next", "--cacert", certificates.certificate("ca"), url + "/readyz?verbose"])
        #expect(several.body.contains("readyz check passed"))
        // What the library would refuse by itself is refused once here, too.
        #expect(try await curl(bench, "/livez", with: ["-H", "Content-Length: abc"]).code == 400)
        // Without TLS nothing is said.
        let plain = try bench.client()
        plain.request("GET", "/livez")
        #expect(try !plain.rest().contains("HTTP/1.1 200"))
        #expect(try await curl(bench).body == "ok")
    }

    @Test(
        "Only the versions asked for are spoken",
        arguments: [
            ("", ["1.2", "1.3"]), ("min_version: TLS13", ["1.3"]), ("max_version: TLS12", ["1.2"]),
            ("min_version: TLS10", ["1.0", "1.1", "1.2", "1.3"]),
        ])
    func versions(setting: String, spoken: [String]) async throws {
        let config = try WebConfigFolder(setting.isEmpty ? config() : config("server", setting))
        let bench = try bench(config)
        for version in ["1.0", "1.1", "1.2", "1.3"] {
            // OpenSSL 3 itself speaks the old ones at its lowest level of security only.
            let answer = try await curl(
                bench, "/livez", with: ["--tlsv\(version)", "--tls-max", version, "--ciphers", "DEFAULT:@SECLEVEL=0"])
            #expect((answer.code == 200) == spoken.contains(version), "\(version): \(answer.errors)")
        }
    }

    @Test("Only the suites and curves asked for are used")
    func suites() async throws {
        let config = try WebConfigFolder(
            config(
                "server", "max_version: TLS12", "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]",
                "curve_preferences: [CurveP384]"))
        let bench = try bench(config)
        for (options, isSpoken) in [
            (["--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"], true),
            (["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"], false), (["--curves", "P-384:P-256"], true),
            (["--curves", "X25519:P-256"], false),
        ] {
            let answer = try await curl(bench, "/livez", with: options)
            #expect((answer.code == 200) == isSpoken, "\(options): \(answer.errors)")
        }
    }

    /// What becomes of each client under each policy.
    static let policies: [(policy: String, admitted: Set<String>)] = [
        ("NoClientCert", ["", "prometheus", "nobody", "expired", "stranger"]),
        ("RequestClientCert", ["", "prometheus", "nobody", "expired", "stranger"]),
        ("RequireAnyClientCert", ["prometheus", "nobody", "expired", "stranger"]),
        ("RequireClientCert", ["prometheus", "nobody", "expired", "stranger"]),
        ("VerifyClientCertIfGiven", ["", "prometheus", "nobody"]),
        ("RequireAndVerifyClientCert", ["prometheus", "nobody"]),
    ]

    @Test(
        "Each policy lets in whom it should, at the connection or, with open probes, at each request",
        arguments: policies)
    func admits(policy: String, admitted: Set<String>) async throws {
        let config = try WebConfigFolder(clients(policy))
        let strict = try bench(config)
        let lenient = try bench(config, opensProbes: true)
        for name in ["", "prometheus", "nobody", "expired", "stranger"] {
            let client = name.isEmpty ? nil : name
            let isAdmitted = admitted.contains(name)
            let answer = try await curl(strict, "/livez", as: client)
            #expect(answer.code == (isAdmitted ? 200 : 0), "\(name): \(answer.errors)")
            #expect(try await curl(lenient, "/livez", as: client).body == "ok")
            let other = try await curl(lenient, "/metrics", as: client)
            #expect(other.code == (isAdmitted ? 200 : 403), "\(name): \(other.errors)")
        }
    }

    @Test("With open probes, others are told why")
    func reasons() async throws {
        let config = try WebConfigFolder(
            clients("RequireAndVerifyClientCert", "client_allowed_sans: [prometheus.test]"))
        let bench = try bench(config, opensProbes: true)
        for (name, reason) in [
            (nil, "a client certificate is required"),
            ("expired", "client certificate rejected: it has expired"),
            ("stranger", "client certificate rejected: it is not signed by a trusted authority"),
            ("nobody", "client certificate rejected: none of its names is allowed"),
            ("server", "client certificate rejected: it is not issued for client authentication"),
        ] {
            #expect(try await curl(bench, "/metrics", as: name).body == reason + "\n")
        }
    }

    @Test(
        "A certificate with a name that is allowed is let in, one without is not",
        arguments: ["prometheus.test", "10.1.2.3", "fd00::1", "prometheus@test", "spiffe://test/prometheus"])
    func names(name: String) async throws {
        let config = try WebConfigFolder(
            clients("RequireAndVerifyClientCert", "client_allowed_sans: [somebody, \"\(name)\"]"))
        let bench = try bench(config)
        #expect(try await curl(bench, as: "prometheus").code == 200)
        #expect(try await curl(bench, as: "nobody").code == 0)
    }

    @Test("A renewed certificate is shown to the next connection, and the connections there are go on")
    func renewal() async throws {
        let folder = try TemporaryFolder()
        func use(_ name: String) throws {
            for (source, target) in [(certificates.certificate(name), "tls.pem"), (certificates.key(name), "tls.key")] {
                _ = try folder.write(String(contentsOfFile: source, encoding: .utf8), to: target)
            }
        }
        try use("server")
        let config = try WebConfigFolder(
            "tls_server_config: {cert_file: \(folder.path("tls.pem")), key_file: \(folder.path("tls.key"))}")
        let bench = try bench(config)
        let connection = try TLSClient(bench, certificates)
        #expect(try await connection.ask("/livez").contains("ok"))
        #expect(try await connection.shows("server"))
        try use("renewed")
        #expect(try await TLSClient(bench, certificates).shows("renewed"))
        #expect(try await connection.ask("/readyz").contains("ok"))
        // A bad one, and then none at all.
        _ = try folder.write("nonsense", to: "tls.pem")
        #expect(try await TLSClient(bench, certificates).shows("renewed"))
        try folder.remove("tls.pem")
        #expect(try await TLSClient(bench, certificates).shows("renewed"))
        let warnings = bench.log.messages.filter { $0.hasPrefix("warning") }
        #expect(warnings.contains { $0.contains("contains no PEM certificate") })
        #expect(warnings.last?.contains("cannot be read: No such file or directory") == true)
    }

    @Test("When certificates expire is exported, and one that is not valid is told of")
    func expiry() async throws {
        let writer = try ArenaWriter.create(name: "test", capacity: 1 << 20)
        let registry = MetricRegistry(arena: writer, logger: RecordedLog().logger)
        let exposition = Exposition(sources: [
            ArenaSource(reader: try ArenaReader(descriptor: writer.descriptor.rawValue), constantLabels: [])
        ])
        func expiry() -> Double? {
            String(decoding: exposition.rendered(.text), as: UTF8.self).split(separator: "\n").first {
                $0.hasPrefix("muster_endpoint_certificate_expiry_timestamp_seconds ")
            }.flatMap { Double($0.split(separator: " ")[1]) }
        }
        let config = try WebConfigFolder(config("expired"))
        let bench = try EndpointBench(registry: registry) {
            $0.webConfigFile = config.file
            $0.webConfigSettlingTime = .zero
        }
        let now = Date().timeIntervalSince1970
        #expect(expiry().map { $0 < now } == true)
        #expect(
            bench.log.messages.contains {
                $0.contains("certificate of web config file not valid") && $0.contains("expired at")
            })
        try config.write(self.config())
        #expect(try await curl(bench).code == 200)
        // Two days, for which the test's are made.
        #expect(expiry().map { abs($0 - now - 2 * 86_400) < 3600 } == true)
        try config.write("tls_server_config: {}")
        #expect(try bench.get("/livez").text == "ok")
        #expect(expiry() == nil)
    }

    @Test("A certificate is not valid before its time and after it, in words")
    func validity() {
        let validity = CertificateValidity(start: 1_000_000_000, end: 2_000_000_000)
        #expect(validity.problem(at: 999_999_999) == "is not valid before 2001-09-09T01:46:40.000Z")
        #expect(validity.problem(at: 1_000_000_000) == nil)
        #expect(validity.problem(at: 2_000_000_000) == nil)
        #expect(validity.problem(at: 2_000_000_001) == "expired at 2033-05-18T03:33:20.000Z")
        #expect(CertificateValidity.read(pem: Array("nothing".utf8)).isEmpty)
        #expect(CertificateValidity(ofChain: []) == nil)
        let other = CertificateValidity(start: 1_500_000_000, end: 3_000_000_000)
        #expect(
            CertificateValidity(ofChain: [validity, other])
                == CertificateValidity(start: 1_500_000_000, end: 2_000_000_000))
    }

    @Test("When TLS is switched on, off, or asks for certificates, those who came before have to come again")
    func switching() async throws {
        let config = try WebConfigFolder("")
        let bench = try bench(config)
        let plain = try bench.client()
        #expect(try plain.get("/livez").text == "ok")
        try config.write(self.config())
        #expect(try await curlSecure(bench).code == 200)
        #expect(try plain.rest() == "")
        let secure = try TLSClient(bench, certificates)
        #expect(try await secure.ask("/livez").contains("ok"))
        try config.write(clients("RequireAndVerifyClientCert"))
        #expect(try await curl(bench).code == 0)
        try await secure.end()
        #expect(try await curl(bench, as: "prometheus").code == 200)
        try config.write("tls_server_config: {}")
        #expect(try bench.get("/livez").text == "ok")
        #expect(bench.endpoint.url?.hasPrefix("http:") == true)
    }

    /// Asks over TLS although the endpoint has not noticed yet that it has it.
    private func curlSecure(_ bench: EndpointBench) async throws -> Answer {
        guard case .tcp(_, let port) = bench.address else { throw Program.Ended(description: "no port") }
        let program = try Program(
            find("curl") ?? "curl",
            [
                "-sS", "--cacert", certificates.certificate("ca"), "-o", "/dev/null", "-w", "%{http_code}",
                "https://127.0.0.1:\(port)/livez",
            ])
        let status = try await program.status()
        return Answer(status: status, body: "", errors: program.errors, code: Int(program.output) ?? 0)
    }

    @Test("Who says nothing, or nonsense, in the place of a handshake is ended, and keeps nobody out")
    func rude() async throws {
        let config = try WebConfigFolder(config())
        let bench = try EndpointBench {
            $0.webConfigFile = config.file
            $0.idleTimeout = .milliseconds(200)
        }
        let silent = try bench.client()
        #expect(try silent.rest() == "")
        // A record that announces more than comes, an alert, and no TLS at all.
        for bytes: [UInt8] in [
            [22, 3, 1, 2, 0, 1, 0], [21, 3, 3, 0, 2, 2, 40], Array(repeating: 0xFF, count: 5000), [22, 3, 1, 0, 0],
        ] {
            let client = try bench.client()
            client.send(bytes)
            _ = try client.rest()
        }
        #expect(try await curl(bench).body == "ok")
    }

    @Test("Certificates and keys that do not fit are refused with line and reason")
    func material() throws {
        let folder = try TemporaryFolder()
        let junk = try folder.write("junk", to: "junk.pem")
        let cases = [
            (
                "tls_server_config:\n  cert_file: \(certificates.certificate("server"))\n  key_file: \(certificates.key("ca"))\n",
                ":3: tls_server_config: key_file ('\(certificates.key("ca"))') does not match the certificate in cert_file "
                    + "('\(certificates.certificate("server"))')"
            ),
            (
                "tls_server_config:\n  cert_file: \(junk)\n  key_file: \(certificates.key("server"))\n",
                ":2: tls_server_config: cert_file ('\(junk)') contains no PEM certificate"
            ),
            (
                "tls_server_config:\n  cert_file: \(certificates.certificate("server"))\n  key: junk\n",
                ":3: tls_server_config: key contains no PEM private key"
            ),
            (
                clients("RequireAndVerifyClientCert").replacing(certificates.certificate("ca"), with: junk),
                ":5: tls_server_config: client_ca_file ('\(junk)') contains no PEM certificate"
            ),
        ]
        for (text, message) in cases {
            let config = try WebConfigFolder(text)
            let error = #expect(throws: WebConfigError.self) { try WebConfig.load(file: config.file) }
            #expect(error?.description == config.file + message)
        }
        let good = try WebConfigFolder(config())
        #expect(try WebConfig.load(file: good.file).tls != nil)
    }
}
