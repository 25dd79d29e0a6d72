// SPDX-License-Identifier: Apache-2.0

import MusterTestSupport
import Testing

@Suite("The page of metrics", .timeLimit(.minutes(5)))
struct MetricsPageTests {
    @Test(
        "has a row for each exported metric, with its type, and no row for another",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"))
    func metrics() async throws {
        var documented: [String: String] = [:]
        for match in try Repository.text("docs/metrics.md").matches(
            of: /\| `([a-z_]+)` \| (counter|gauge|histogram|info) \|/)
        {
            documented[String(match.1)] = String(match.2)
        }
        var exported: [String: String] = [:]
        let inOneProcess = ["--check-volume", "1m", "--report", "@hourly"]
        let supervised = inOneProcess + ["--workers", "2", "--warm-spares", "1"]
        for (backend, options) in [
            ("cooperative", inOneProcess), ("threading", inOneProcess), ("cooperative", supervised),
            ("threading", supervised),
        ] {
            let demo = try await Demo(backend: backend, options: options)
            _ = try await demo.get("/livez")
            _ = try await demo.get("/readyz")
            for match in try await demo.get("/metrics").body.matches(of: /# TYPE ([a-z_]+) ([a-z]+)/)
            where !match.1.hasPrefix("demo_") {
                exported[String(match.1)] = match.1.hasSuffix("_info") ? "info" : String(match.2)
            }
        }
        // Shown with TLS only; the tests of the endpoint's TLS see it.
        exported["muster_endpoint_certificate_expiry_timestamp_seconds"] = "gauge"
        // Only while a worker's restart is delayed; a test of processes sees it.
        exported["muster_worker_next_start_timestamp_seconds"] = "gauge"
        #expect(documented == exported)
    }
}
