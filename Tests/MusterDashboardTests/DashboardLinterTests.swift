// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "The rules for dashboards", .enabled(if: PythonTool.has("promql_parser"), "install promql-parser for this test"),
    .timeLimit(.minutes(5)))
struct DashboardLinterTests {
    /// How to break each rule, and no other one, in the overview.
    static let breaks: [DashboardRule: @Sendable (inout Dashboard) -> Void] = [
        .identity: { $0.uid = nil },
        .readOnly: { $0.editable = true },
        .links: { $0.links = [] },
        .restartAnnotation: { $0.annotations?.list.removeFirst() },
        .datasourceVariable: { $0.templating?.list[0].label = "Source" },
        .targetVariables: { $0.templating?.list.removeAll { $0.name == "instance" } },
        .variableQuery: { $0.templating?.list[1].refresh = 1 },
        .panelIdentity: { $0.panels?[1].gridPos?.x += 1 },
        .panelText: { $0.panels?[1].description = "?" },
        .panelUnit: { $0.panels?[1].fieldConfig?.defaults?.unit = "sec" },
        .panelDatasource: { $0.panels?[1].targets?[0].datasource?.uid = "prometheus" },
        .panelTargets: { $0.panels?[1].targets = [] },
        .targetLegend: { $0.panels?[8].targets?[0].legendFormat = "" },
        .targetSyntax: { $0.panels?[1].targets?[0].expr = "sum(muster_workers" },
        .targetMatchers: {
            $0.panels?[1].targets?[0].expr = "muster_workers{job=~\"$job\", instance=~\"$instance\"}"
        },
        .targetRateInterval: {
            $0.panels?[1].targets?[0].expr =
                "rate(muster_jobs_total{job=~\"$job\", instance=~\"$instance\", worker_group=~\"$worker_group\"}[5m])"
        },
        .targetCounters: {
            $0.panels?[1].targets?[0].expr =
                "muster_jobs_total{job=~\"$job\", instance=~\"$instance\", worker_group=~\"$worker_group\"}"
        },
        .targetMetrics: {
            $0.panels?[1].targets?[0].expr =
                "muster_wrokers{job=~\"$job\", instance=~\"$instance\", worker_group=~\"$worker_group\"}"
        },
    ]

    @Test("are kept by every dashboard", arguments: Repository.dashboards)
    func clean(name: String) async throws {
        let found = try await findings(in: Repository.dashboard(name)).map(\.description)
        #expect(found == [])
    }

    @Test("find what breaks them", arguments: DashboardRule.allCases)
    func broken(rule: DashboardRule) async throws {
        var dashboard = try Repository.dashboard("muster-overview")
        let breakIt = try #require(Self.breaks[rule])
        breakIt(&dashboard)
        let found = Set(try await findings(in: dashboard).map(\.rule))
        #expect(found == [rule])
    }

    private func findings(in dashboard: Dashboard) async throws -> [DashboardFinding] {
        try await DashboardLinter.findings(
            in: dashboard, parsed: ParsedExpression.parse(dashboard.expressions), metrics: Repository.metrics())
    }
}
