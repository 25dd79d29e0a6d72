// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "deploy/kubernetes/components/tls",
    .enabled(
        if: Tools.kubectl != nil && Tools.readsYAML && find("openssl") != nil,
        "install openssl, and run scripts/install-packages test"),
    .timeLimit(.minutes(2)))
struct GuardedTests {
    /// The web configuration as a pod has it, with a certificate that is its own authority.
    private struct Guarded {
        let container: JSONValue
        let folder: TemporaryFolder
        let file: String

        init() async throws {
            let manifests = try await Manifests.render("overlays/production-guarded")
            let deployment = try manifests.one("Deployment")
            container = deployment.containers[0]
            let map = deployment.podTemplate["spec"]["volumes"].items.compactMap { $0["configMap"]["name"].string }
                .first
            var text = try #require(try manifests.one("ConfigMap", map)["data"]["web.yml"].string)
            let mount = try #require(
                container["volumeMounts"].items.first { $0["name"] == "tls" }?["mountPath"].string)
            folder = try TemporaryFolder()
            try await Tools.run(
                find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", "/CN=muster-demo", "-keyout", folder.path("tls.key"), "-out", folder.path("tls.crt"))
            try FileManager.default.copyItem(atPath: folder.path("tls.crt"), toPath: folder.path("ca.crt"))
            for name in ["tls.crt", "tls.key", "ca.crt"] { #expect(text.contains(" \(mount)/\(name)\n")) }
            text.replace("\(mount)/", with: "\(folder.url.path)/")
            file = try folder.write(text, to: "web.yml")
        }
    }

    @Test("promtool accepts the web configuration", .enabled(if: Tools.promtool != nil, "install prometheus"))
    func webConfiguration() async throws {
        let guarded = try await Guarded()
        try await Tools.run(Tools.promtool, "check", "web-config", guarded.file)
    }

    @Test(
        "with it the demo answers probes for everybody, and metrics for who has a certificate",
        .enabled(if: Demo.isBuilt && find("curl") != nil, "build the demo first: make demo"))
    func demo() async throws {
        let guarded = try await Guarded()
        var environment: [String: String] = [:]
        for variable in guarded.container["env"].items {
            environment[variable["name"].string ?? ""] = variable["value"].string
        }
        let configured = try #require(environment["MUSTER_ENDPOINT_WEB_CONFIG_FILE"])
        let mounts = guarded.container["volumeMounts"].items.compactMap { $0["mountPath"].string }
        #expect(mounts.contains { configured == "\($0)/web.yml" })
        environment["MUSTER_ENDPOINT_WEB_CONFIG_FILE"] = guarded.file
        let demo = try await Demo(backend: nil, environment: environment)
        let url = demo.ready.endpoint
        #expect(url.hasPrefix("https://"))

        func curl(_ path: String, _ options: [String] = []) async throws -> Tools.Answer {
            // As the kubelet does: without verifying the certificate.
            try await Tools.answer(find("curl"), ["--silent", "--fail", "--insecure"] + options + [url + path])
        }
        let certificate = ["--cert", guarded.folder.path("tls.crt"), "--key", guarded.folder.path("tls.key")]
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let get = guarded.container[probe]["httpGet"]
            #expect(get["scheme"] == "HTTPS")
            let path = try #require(get["path"].string)
            #expect(try await curl(path).output == "ok")
        }
        #expect(try await curl("/metrics").status == 22)
        #expect(try await curl("/metrics", certificate).output.contains("\nmuster_build_info{"))
    }
}
