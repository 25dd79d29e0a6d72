// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Access control with a real Prometheus", .serialized, .timeLimit(.minutes(2)))
struct AccessTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    private static let samples = ["basic-auth.yml", "mutual-tls.yml", "tls.yml"]

    /// The samples in a folder with the files that they name.
    private static func prepare() throws -> TestCertificates {
        let certificates = try TestCertificates()
        for (name, file) in [
            (certificates.certificate("ca"), "ca.crt"), (certificates.certificate("server"), "tls.crt"),
            (certificates.key("server"), "tls.key"),
        ] {
            try FileManager.default.copyItem(atPath: name, toPath: certificates.folder.path(file))
        }
        let folder = root.appendingPathComponent("deploy/web-config")
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".yml") }
        #expect(files.sorted() == samples)
        for file in files {
            let path = folder.appendingPathComponent(file).path
            try FileManager.default.copyItem(atPath: path, toPath: certificates.folder.path(file))
        }
        return certificates
    }

    @Test(
        "promtool takes the samples",
        .enabled(if: find("promtool") != nil, "install prometheus for this test"),
        .enabled(if: TestCertificates.areAvailable, "install openssl"))
    func promtool() async throws {
        let certificates = try Self.prepare()
        for file in Self.samples {
            let check = try Program(
                find("promtool") ?? "promtool", ["check", "web-config", certificates.folder.path(file)])
            #expect(try await check.status() == 0, "\(file): \(check.output)\(check.errors)")
        }
    }

    @Test(
        "The samples let Prometheus in with the password or the certificate, and nobody without",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
        .enabled(if: Prometheus.isInstalled, "install prometheus for this test"),
        .enabled(if: TestCertificates.areAvailable && find("curl") != nil, "install openssl and curl"))
    func scrapes() async throws {
        let certificates = try Self.prepare()
        let credentials = [
            "basic-auth": "basic_auth: {username: prometheus, password: muster}",
            "tls": "basic_auth: {username: prometheus, password: muster}", "mutual-tls": "",
        ]
        var demos: [String: Demo] = [:]
        var jobs = ""
        for (name, credential) in credentials {
            let demo = try await Demo(
                backend: nil,
                options: [
                    "--web-config-file", certificates.folder.path(name + ".yml"), "--loops", "1",
                    "--workers", name == "tls" ? "2" : "0",
                ] + (name == "mutual-tls" ? ["--open-probes"] : []))
            demos[name] = demo
            let parts = demo.ready.endpoint.components(separatedBy: "://")
            #expect(parts.first == (name == "basic-auth" ? "http" : "https"))
            let common = "    scheme: \(parts[0])\n    static_configs: [{targets: ['\(parts[1])']}]\n"
            let client =
                name == "mutual-tls"
                ? ", cert_file: \(certificates.certificate("prometheus")), key_file: \(certificates.key("prometheus"))"
                : ""
            let tls = "    tls_config: {ca_file: \(certificates.certificate("ca"))\(client)}\n"
            jobs += "  - job_name: \(name)\n" + common + tls
            jobs += credential.isEmpty ? "" : "    \(credential)\n"
            // The same without what lets it in.
            jobs += "  - job_name: \(name)-stranger\n" + common
            jobs += "    tls_config: {ca_file: \(certificates.certificate("ca"))}\n"
        }
        let prometheus = try await Prometheus(
            configuration: "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n" + jobs)
        for name in credentials.keys {
            for (query, what) in [("up{job='\(name)'} == 1", "in"), ("up{job='\(name)-stranger'} == 0", "out")] {
                _ = try await eventually("\(name): \(what)") { try await prometheus.query(query).first }
            }
        }
        let samples = try await prometheus.query("muster_endpoint_web_config_valid == 1")
        #expect(Set(samples.compactMap { $0.labels["job"] }) == Set(credentials.keys))
        // Probes are open where it was asked for.
        let mutual = try #require(demos["mutual-tls"])
        let probe = try Program(
            find("curl") ?? "curl",
            ["-sS", "--cacert", certificates.certificate("ca"), mutual.ready.endpoint + "/livez"])
        #expect(try await probe.status() == 0)
        #expect(probe.output == "ok")
        for demo in demos.values {
            demo.signal(SIGTERM)
            #expect(try await demo.status() == 0)
        }
    }
}
