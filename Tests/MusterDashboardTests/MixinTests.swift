// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "The mixin", .enabled(if: Repository.hasJsonnet, "install jsonnet for this test"), .timeLimit(.minutes(5)))
struct MixinTests {
    @Test("renders the dashboards that lie beside it")
    func rendered() async throws {
        let folder = try TemporaryFolder()
        let source = Repository.url("dashboards/render.jsonnet").path
        let program = try Program(find("jsonnet") ?? "jsonnet", ["--multi", folder.url.path, source])
        #expect(try await program.status() == 0, "\(program.errors)")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.url.path)
        #expect(Set(names) == Set(Repository.dashboards.map { "\($0).json" }))
        for name in names {
            let text = try String(contentsOf: folder.url.appendingPathComponent(name), encoding: .utf8)
            #expect(text == (try Repository.text("dashboards/\(name)")), "\(name): run make dashboards")
        }
    }

    @Test("puts the address of the documentation before that of each runbook, and into panels")
    func address() async throws {
        let mixin =
            "((import 'mixin.libsonnet') + { _config+:: { docsUrl: 'https://example.org/' } })"
        let alerts = try await Repository.evaluate("\(mixin).prometheusAlerts", as: RuleFile.self).alerts
        #expect(alerts.count > 20)
        for alert in alerts {
            let url = "https://example.org/docs/operations.md#\(alert.name.lowercased())"
            #expect(alert.annotations?["runbook_url"] == url)
        }
        // A runbook that a panel names is one of an alert's.
        let snippet = """
            local boards = \(mixin).grafanaDashboards;
            [link.url for name in std.objectFields(boards) for panel in boards[name].panels
             if std.objectHas(panel, 'links') for link in panel.links]
            """
        let links = try await Repository.evaluate(snippet, as: [String].self)
        #expect(links.count > 20)
        #expect(Set(links).isSubset(of: Set(alerts.compactMap { $0.annotations?["runbook_url"] })))
    }
}
