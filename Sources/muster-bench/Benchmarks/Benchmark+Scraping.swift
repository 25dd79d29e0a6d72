// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterMetrics
import MusterPlatform

extension Benchmark {
    static func scraping(_ effort: Effort) throws -> [Figure] {
        try LoadGenerator.requireInstalled()
        let registry = try Backends.registry()
        let exposition = try Self.exposition(series: 830, registry: registry)
        let endpoint = Endpoint(
            configuration: EndpointConfiguration(address: .tcp(host: "127.0.0.1", port: 0)), metrics: exposition,
            health: HealthRegistry(runner: { _, _ in }, logger: Backends.silent), registry: registry,
            logger: Backends.silent)
        try endpoint.start()
        defer { endpoint.stop() }
        guard let url = endpoint.url else { throw BenchmarkError("the endpoint has no URL") }
        var body: [UInt8] = []
        exposition.render(.text, into: &body)
        let server = try StaticServer(body: body)
        defer { server.stop() }

        let seconds = effort(2, quick: 1)
        // Once without counting, so that both have their memory.
        _ = try LoadGenerator.run(url: url + "/metrics", seconds: 1)
        let rounds = try Rounds.run(
            effort(5, quick: 2),
            [
                { try LoadGenerator.run(url: url + "/metrics", seconds: seconds) },
                { try LoadGenerator.run(url: server.url, seconds: seconds) },
                { try LoadGenerator.run(url: url + "/metrics", seconds: seconds, compressed: true) },
            ])
        let size = "\(body.count / 1024) KiB"
        let reference = "the same bytes, static"
        return [
            Figure(
                "/metrics of \(size)", in: .perSecond, rounds[0].map(\.requestsPerSecond),
                against: (reference, rounds[1].map(\.requestsPerSecond)), limit: .ratioAtLeast(0.6)),
            Figure(
                "median time of /metrics, 8 connections", in: .nanoseconds, rounds[0].map(\.medianTime),
                against: (reference, rounds[1].map(\.medianTime))),
            Figure(
                "/metrics, compressed", in: .perSecond, rounds[2].map(\.requestsPerSecond),
                against: (reference + ", not compressed", rounds[1].map(\.requestsPerSecond))),
        ]
    }
}
