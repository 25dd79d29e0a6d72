// SPDX-License-Identifier: Apache-2.0

import Foundation
import Muster
import MusterTestSupport
import Testing

@Suite(
    "deploy/compose", .enabled(if: Tools.readsYAML, "run scripts/install-packages test first"), .timeLimit(.minutes(2)))
struct ComposeTests {
    static let folder = "\(Tools.root)/deploy/compose"

    private func services() async throws -> [String: JSONValue] {
        try await Tools.yaml("\(Self.folder)/compose.yaml")[0]["services"].members
    }

    @Test("compose.yaml is one", .enabled(if: Tools.checkJSONSchema != nil, "no check-jsonschema"))
    func schema() async throws {
        let file = "\(Self.folder)/compose.yaml"
        try await Tools.run(Tools.checkJSONSchema, "--builtin-schema", "vendor.compose-spec", file)
        let wrong = try TemporaryFolder().keeping(
            try String(contentsOfFile: file, encoding: .utf8).replacing("read_only:", with: "readonly:"))
        let answer = try await Tools.answer(
            Tools.checkJSONSchema, ["--builtin-schema", "vendor.compose-spec", wrong.path])
        #expect(answer.status == 1)
    }

    @Test("ports are open on this machine only, images have versions, every service has a health check")
    func openness() async throws {
        for (name, service) in try await services() {
            #expect(!service["ports"].items.isEmpty)
            for port in service["ports"].items { #expect(port.string?.hasPrefix("127.0.0.1:") == true) }
            if let image = service["image"].string { #expect(image.contains(/:\$\{[A-Z_]+:-[v0-9.]+\}$/), "\(image)") }
            #expect(!service["healthcheck"]["test"].items.isEmpty, "\(name)")
            #expect(service["cap_drop"].items == ["ALL"])
            #expect(service["security_opt"].items == ["no-new-privileges:true"])
        }
    }

    @Test("everything that is mounted exists, and the container file has the target")
    func mounts() async throws {
        let services = try await services()
        for service in services.values {
            for volume in service["volumes"].items.compactMap(\.string) where volume.hasPrefix(".") {
                let path = volume.split(separator: ":")[0]
                #expect(FileManager.default.fileExists(atPath: "\(Self.folder)/\(path)"), "\(path)")
                #expect(volume.hasSuffix(":ro"))
            }
        }
        let build = try #require(services["demo"]?["build"])
        let root = URL(fileURLWithPath: "\(Self.folder)/\(build["context"].string ?? "")").standardized.path
        let file = try String(contentsOfFile: "\(root)/\(build["dockerfile"].string ?? "")", encoding: .utf8)
        #expect(file.contains(" AS \(build["target"].string ?? "?")\n"))
    }

    @Test(
        "promtool accepts Prometheus' configuration, which scrapes the demo",
        .enabled(if: Tools.promtool != nil, "install prometheus"))
    func prometheus() async throws {
        // As the container sees it: the rules beside it.
        let folder = try TemporaryFolder()
        let text = try String(contentsOfFile: "\(Self.folder)/prometheus.yml", encoding: .utf8)
        let file = try folder.write(text, to: "prometheus.yml")
        try FileManager.default.copyItem(atPath: "\(Tools.root)/deploy/prometheus", toPath: folder.path("muster"))
        try await Tools.run(Tools.promtool, "check", "config", file)
        let configuration = try await Tools.yaml(file)[0]
        for rules in configuration["rule_files"].items.compactMap(\.string) {
            #expect(FileManager.default.fileExists(atPath: folder.path(rules)))
        }
        let targets = configuration["scrape_configs"].items.flatMap { $0["static_configs"].items }
            .flatMap { $0["targets"].items }
        let endpoint = try await services()["demo"]?["environment"]["MUSTER_ENDPOINT_ADDRESS"].string ?? ""
        #expect(targets.contains(.string("demo\(endpoint)")))
    }

    @Test("Grafana is provisioned with that Prometheus and the folder of the dashboards")
    func grafana() async throws {
        let sources = try await Tools.yaml("\(Self.folder)/grafana/datasources/prometheus.yml")[0]
        #expect(sources["apiVersion"].number == 1)
        let source = sources["datasources"][0]
        #expect(source["type"] == "prometheus" && source["url"] == "http://prometheus:9090")
        #expect(source["isDefault"] == true)
        let scrape = try await Tools.yaml("\(Self.folder)/prometheus.yml")[0]["global"]["scrape_interval"]
        #expect(source["jsonData"]["timeInterval"] == scrape)
        let dashboards = try await Tools.yaml("\(Self.folder)/grafana/dashboards/muster.yml")[0]
        #expect(dashboards["apiVersion"].number == 1)
        let path = try #require(dashboards["providers"][0]["options"]["path"].string)
        let grafana = try #require(try await services()["grafana"])
        #expect(grafana["volumes"].items.contains(.string("../../dashboards:\(path):ro")))
        let home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].string ?? ""
        #expect(home.hasPrefix("\(path)/"))
        let file = "\(Tools.root)/dashboards/\(home.dropFirst(path.count + 1))"
        #expect(FileManager.default.fileExists(atPath: file), "\(file)")
    }

    @Test("the demo may take as long to stop as its settings say, and compares two backends")
    func demo() async throws {
        let demo = try #require(try await services()["demo"])
        let environment = demo["environment"].strings
        #expect(environment.keys.allSatisfy(try settingsOfTheDocumentation().contains))
        let settings = try MusterSettings(environment: environment)
        let grace = try #require(Duration(parsing: demo["stop_grace_period"].string ?? ""))
        #expect(grace > settings.shutdownDelay + settings.gracefulShutdownTimeout)
        #expect(demo["command"].items.suffix(2) == ["--canary-percent", "50"])
    }
}
