// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("The rules for Prometheus", .timeLimit(.minutes(2)))
struct RulesTests {
    static let hasPromtool = find("promtool") != nil

    static func testFiles() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: Repository.url("deploy/prometheus/tests").path)
            .filter { $0.hasSuffix(".yml") }.map { "deploy/prometheus/tests/\($0)" }
    }

    @Test(
        "pass promtool's checks and its tests", .enabled(if: hasPromtool, "install prometheus for this test"),
        arguments: [
            ["check", "config", "deploy/prometheus/prometheus.yml"],
            ["check", "rules", "--lint-fatal", "deploy/prometheus/recording-rules.yml"],
            ["check", "rules", "--lint-fatal", "deploy/prometheus/alerts.yml"],
            ["test", "rules"],
        ])
    func promtool(command: [String]) async throws {
        let files = command.last == "rules" ? try Self.testFiles() : [command[command.count - 1]]
        let words = command.last == "rules" ? command : Array(command.dropLast())
        #expect(!files.isEmpty)
        let program = try Program(
            find("promtool") ?? "promtool", words + files.map { Repository.url($0).path })
        #expect(try await program.status() == 0, "\(program.output)\(program.errors)")
    }

    @Test(
        "test that each alert fires and that it stays silent, and what is recorded",
        .enabled(if: Repository.hasJsonnet, "install jsonnet for this test"))
    func tested() async throws {
        var fires: Set<String> = []
        var isSilent: Set<String> = []
        for file in try Self.testFiles() {
            let expectations = /alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:( \[\])?\n/
            for match in try Repository.text(file).matches(of: expectations) {
                if match.2 == nil { fires.insert(String(match.1)) } else { isSilent.insert(String(match.1)) }
            }
        }
        let alerts = Set(try await RuleFile.alerts().alerts.map(\.name))
        #expect(fires == alerts)
        #expect(isSilent == alerts)
        let tests = try Repository.text("deploy/prometheus/tests/recording-rules.yml")
        for record in try await RuleFile.records().records {
            #expect(tests.contains("- expr: \(record.name)\n"), "\(record.name)")
        }
    }

    @Test(
        "have alerts that say how bad it is, what it is, and where the runbook is",
        .enabled(if: Repository.hasJsonnet, "install jsonnet for this test"))
    func alerts() async throws {
        let alerts = try await RuleFile.alerts().alerts
        #expect(alerts.count > 20)
        #expect(Set(alerts.map(\.name)).count == alerts.count)
        let headings = try Repository.text("docs/operations.md").matches(of: /(?m)^#+ (.+)$/).map { String($0.1) }
        let table = try Repository.text("docs/monitoring.md")
        for alert in alerts {
            let annotations = alert.annotations ?? [:]
            let severity = alert.labels?["severity"] ?? ""
            #expect(alert.name.wholeMatch(of: /Muster([A-Z][a-z]+)+/) != nil, "\(alert.name)")
            #expect(["critical", "warning", "info"].contains(severity), "\(alert.name)")
            #expect(annotations["summary"]?.wholeMatch(of: /[A-Z][^{}]+\./) != nil, "\(alert.name): summary")
            #expect(annotations["description"]?.contains("{{ $labels.") == true, "\(alert.name): description")
            #expect(annotations["runbook_url"] == "docs/operations.md#\(alert.name.lowercased())")
            #expect(headings.contains(alert.name), "no runbook for \(alert.name) in docs/operations.md")
            #expect(table.contains("| `\(alert.name)` | \(severity) |"), "\(alert.name) is not in docs/monitoring.md")
        }
        let runbooks = headings.filter { $0.hasPrefix("Muster") }
        #expect(Set(runbooks) == Set(alerts.map(\.name)), "a runbook for an alert that there is not")
    }

    @Test(
        "ask for metrics that are in the catalogue, or that they record",
        .enabled(if: Repository.hasJsonnet, "install jsonnet for this test"),
        .enabled(if: PythonTool.has("promql_parser"), "install promql-parser for this test"))
    func metrics() async throws {
        let records = try await RuleFile.records().records
        let rules = try await records + RuleFile.alerts().alerts
        let known = try Repository.metrics().union(records.map(\.name)).union(["up"])
        let parsed = try await ParsedExpression.parse(rules.map(\.expr))
        for rule in rules {
            for selector in try #require(parsed[rule.expr]?.selectors, "\(rule.name)") {
                let name = selector.name.hasSuffix("_bucket") ? String(selector.name.dropLast(7)) : selector.name
                #expect(known.contains(name) || known.contains(selector.name), "\(rule.name): \(selector.name)")
            }
        }
        for record in records {
            #expect(record.name.wholeMatch(of: /[a-z_]+:muster_[a-z_]+:[a-z0-9_]+/) != nil, "\(record.name)")
        }
    }
}
