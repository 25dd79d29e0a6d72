// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterEndpoint
import MusterHealth
import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Testing

/// A real Prometheus and an endpoint whose histograms' content the test knows.
@Suite("Native histograms", .serialized, .timeLimit(.minutes(3)))
struct NativeHistogramTests {
    private static let shares = [0.25, 0.5, 0.9, 0.99, 0.999]

    /// An endpoint with a precise histogram `wait_seconds` and another one with the same observations.
    private final class Service {
        let endpoint: Endpoint
        let values: [Double]
        let target: String

        init() throws {
            let registry = MetricRegistry(arena: try .create(name: "test"))
            let waits = [
                try registry.histogram("wait_seconds", help: "Wait.", unit: .seconds, buckets: .lateness),
                try registry.histogram("plain_seconds", help: "Wait.", unit: .seconds, buckets: .seconds),
            ]
            try registry.counter("jobs_total", help: "Jobs.").increment(by: 12)
            var generator = SplitMix64(seed: 1)
            // From 20 µs to 2 s, most of them short.
            values = (0..<10_000).map { _ in 2e-5 * pow(1e5, pow(.random(in: 0...1, using: &generator), 3)) }.sorted()
            for wait in waits { for value in values { wait.observe(value) } }
            endpoint = Endpoint(
                configuration: EndpointConfiguration(address: .tcp(host: "127.0.0.1", port: 0)),
                metrics: Exposition(
                    sources: [ArenaSource(reader: try registry.reader(), constantLabels: [("worker", "0")])]),
                health: HealthRegistry(runner: try TestRunner().run), registry: registry)
            try endpoint.start()
            target = (endpoint.url ?? "").replacingOccurrences(of: "http://", with: "")
        }

        func truth(_ share: Double) -> Double { values[Int(share * Double(values.count))] }

        deinit { endpoint.stop() }
    }

    private func value(_ query: String, of prometheus: Prometheus) async throws -> Double {
        try await eventually(query) { try await prometheus.query(query).first?.value }
    }

    @Test(
        "A Prometheus that wants native histograms gets quantiles within 10 % of the truth",
        .enabled(if: Prometheus.isInstalled, "install prometheus for this test"))
    func native() async throws {
        let service = try Service()
        let prometheus = try await Prometheus(targets: ["test": service.target], features: ["native-histograms"])
        _ = try await value("up == 1", of: prometheus)
        for share in Self.shares {
            let estimate = try await value("histogram_quantile(\(share), wait_seconds)", of: prometheus)
            #expect(abs(estimate / service.truth(share) - 1) < 0.1, "\(share): \(estimate)")
        }
        #expect(try await value("histogram_count(wait_seconds)", of: prometheus) == 10_000)
        let sum = try await value("histogram_sum(wait_seconds)", of: prometheus)
        #expect(abs(sum / service.values.reduce(0, +) - 1) < 1e-9)
        #expect(try await value("jobs_total{worker=\"0\"}", of: prometheus) == 12)
        // Other histograms are as before; the classic buckets of precise ones are not kept by this version.
        #expect(try await value("plain_seconds_bucket{le=\"+Inf\"}", of: prometheus) == 10_000)
        let below = service.values.count { $0 <= 0.001 }
        #expect(try await value("plain_seconds_bucket{le=\"0.001\"}", of: prometheus) == Double(below))
        #expect(try await prometheus.query("wait_seconds_bucket").isEmpty)
        #expect(
            try await value("muster_endpoint_requests_total{route=\"/metrics\",code=\"200\"} > 0", of: prometheus) > 0)
    }

    @Test(
        "A Prometheus that does not sees the classic buckets",
        .enabled(if: Prometheus.isInstalled, "install prometheus for this test"))
    func classic() async throws {
        let service = try Service()
        let prometheus = try await Prometheus(targets: ["test": service.target])
        _ = try await value("up == 1", of: prometheus)
        #expect(try await value("wait_seconds_count", of: prometheus) == 10_000)
        let buckets = try await prometheus.query("wait_seconds_bucket")
        #expect(buckets.count == HistogramBuckets.lateness.bounds.count + 1)
        for bound in HistogramBuckets.lateness.bounds {
            let bucket = buckets.first { $0.labels["le"].flatMap(Double.init) == bound }
            #expect(bucket?.value == Double(service.values.count { $0 <= bound }), "\(bound)")
        }
        #expect(try await prometheus.query("wait_seconds").isEmpty)
        let quantile = try await value("histogram_quantile(0.5, wait_seconds_bucket)", of: prometheus)
        #expect(quantile > service.truth(0.5) / 2.5 && quantile < service.truth(0.5) * 2.5)
    }

    @Test("The endpoint answers in protobuf to whoever prefers it, compressed or not")
    func negotiated() throws {
        let service = try Service()
        let address = try #require(service.endpoint.address)
        let answer = try TestClient(address).get("/metrics", ["Accept: \(ExpositionSnapshot.accept),*/*;q=0.1"])
        #expect(answer.status == 200)
        #expect(
            answer.header("content-type")
                == "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
        #expect(answer.header("vary") == "Accept, Accept-Encoding")
        let snapshot = try ExpositionSnapshot(protobuf: answer.body)
        let histogram = try #require(snapshot.series("wait_seconds").first?.histogram)
        #expect(histogram.count == 10_000)
        for share in Self.shares {
            #expect(abs(try #require(histogram.quantile(share)) / service.truth(share) - 1) < 0.1)
        }
        let filtered = try TestClient(address).get("/metrics?name[]=jobs", ["Accept: \(ExpositionSnapshot.accept)"])
        #expect(try ExpositionSnapshot(protobuf: filtered.body).families.map(\.name) == ["jobs_total"])
        let plain = try TestClient(address).get("/metrics")
        #expect(
            plain.text.contains("wait_seconds_bucket{worker=\"0\",le=\"1.0e-05\"} 0")
                || plain.text.contains("le=\"1e-05\""))
    }
}
