// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Dashboards and rules with the data of a real run", .serialized, .timeLimit(.minutes(3)))
struct DashboardDataTests {
    /// Rates are taken over the whole run, so that whatever has happened in it is in them.
    static let intervals = ["$__rate_interval": "5m", "$__range": "5m", "$__interval": "1s"]
    static let variables = ["baseline": "cooperative", "candidate": "threading"]

    @Test(
        "have an answer to every query",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
        .enabled(if: Prometheus.isInstalled, "install prometheus for this test"),
        .enabled(if: Repository.hasJsonnet, "install jsonnet for this test"))
    func data() async throws {
        // Slots 0 and 2 are cooperative, 1 and 3 the canaries.
        let demo = try await Demo(
            backend: "cooperative",
            options: [
                "--workers", "4", "--warm-spares", "1", "--canary-backend", "threading", "--canary-percent", "50",
                "--interval", "100ms",
            ])
        let prometheus = try await Prometheus(configuration: configuration(for: demo))
        for probe in ["/livez", "/readyz", "/startupz"] { _ = try await demo.get(probe) }
        let before = "sum(muster_worker_starts_total) >= 4 and sum(muster_health_check_status) >= 1"
        _ = try await eventually("the first scrape") { try await prometheus.query(before).first }
        try await makeTrouble(demo)
        for after in [
            "sum(increase(muster_worker_restarts_total{reason=\"signal\"}[5m])) >= 3",
            "sum(increase(muster_reloads_total{outcome=\"completed\"}[5m])) > 0",
            "sum(increase(muster_loop_overruns_total[5m])) > 0",
        ] {
            _ = try await eventually(after) { try await prometheus.query(after).first }
        }

        var wanted: [String: String] = [:]
        for name in Repository.dashboards {
            let dashboard = try Repository.dashboard(name)
            #expect(dashboard.places.count > 15)
            for (place, expression) in dashboard.places { wanted["\(name), \(place)"] = Self.fill(expression) }
        }
        for record in try await RuleFile.records().records { wanted["recording rule \(record.name)"] = record.name }
        let missing = try await withoutData(wanted, prometheus)
        #expect(missing == [:])
        // An alert's expression is usually without an answer; it must not be an error.
        for alert in try await RuleFile.alerts().alerts { _ = try await prometheus.query(alert.expr) }
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
    }

    private func configuration(for demo: Demo) -> String {
        """
        global:
          scrape_interval: 1s
          scrape_timeout: 1s
          evaluation_interval: 1s
        rule_files:
          - \(Repository.url("deploy/prometheus/recording-rules.yml").path)
          - \(Repository.url("deploy/prometheus/alerts.yml").path)
        scrape_configs:
          - job_name: demo
            static_configs:
              - targets: ['\(demo.ready.endpoint.replacingOccurrences(of: "http://", with: ""))']
        """
    }

    /// Work, deaths on both backends, overruns, and a reload.
    private func makeTrouble(_ demo: Demo) async throws {
        for _ in 0..<10 { _ = try await demo.get("/work?ms=5", from: demo.ready.http) }
        let victims = demo.workers.prefix(2)
        #expect(victims.count == 2)
        for victim in victims { kill(victim.pid, SIGKILL) }
        _ = try await demo.metrics("two deaths") { $0.restarts["signal"] == 2 && $0.workers("ready") == 4 }
        // No answer: the worker is gone.
        _ = try? await demo.get("/crash", from: demo.ready.http)
        _ = try await demo.metrics("a crash") { $0.restarts["signal"] == 3 && $0.workers("ready") == 4 }
        // Which worker gets a request is the kernel's choice; only on a thread of its own does a run outlast its time.
        // A busy machine may have had overruns before the first scrape, which are in no rate.
        let overruns = try await demo.metrics().sum("muster_loop_overruns_total")
        _ = try await eventually("an overrun") {
            _ = try await demo.get("/hang?seconds=0.5", from: demo.ready.http)
            return try await demo.metrics().sum("muster_loop_overruns_total") > overruns ? () : nil
        }
        demo.signal(SIGHUP)
        _ = try await demo.metrics("a reload") { $0.sum("muster_reloads_total", ["outcome": "completed"]) == 1 }
    }

    /// Fills in variables as Grafana does.
    private static func fill(_ expression: String) -> String {
        var filled = expression
        for (name, value) in intervals.sorted(by: { $0.key > $1.key }) {
            filled = filled.replacingOccurrences(of: name, with: value)
        }
        return filled.replacing(/\$([a-z_]+)/) { variables[String($0.1)] ?? ".+" }
    }

    /// The queries that have no answer with a number in it, even when they are asked again for some scrapes.
    private func withoutData(
        _ queries: [String: String], _ prometheus: Prometheus
    ) async throws -> [String: String] {
        var missing = queries
        let deadline = ContinuousClock.now.advanced(by: .seconds(10))
        return try await eventually("the answers", within: .seconds(60)) {
            for (place, query) in missing
            where try await prometheus.query(query).contains(where: { $0.value.isFinite }) {
                missing[place] = nil
            }
            return missing.isEmpty || ContinuousClock.now > deadline ? missing : nil
        }
    }
}
