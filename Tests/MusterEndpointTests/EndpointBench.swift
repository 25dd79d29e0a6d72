// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import MusterMetrics
import MusterPlatform
import MusterTestSupport

/// An endpoint that listens on a free port until the test is over.
final class EndpointBench {
    let renderer: TestRenderer
    let health: HealthRegistry
    let endpoint: Endpoint
    let address: ListenAddress
    let log = RecordedLog()

    init(
        address: ListenAddress = .tcp(host: "127.0.0.1", port: 0), padding: Int = 0,
        clock: any RuntimeClock = SystemClock(), status: (any StatusSource)? = nil, registry: MetricRegistry? = nil,
        _ change: (inout EndpointConfiguration) -> Void = { _ in }
    ) throws {
        renderer = TestRenderer(padding: padding)
        let runner = try TestRunner()
        health = HealthRegistry(runner: runner.run, clock: clock, logger: RecordedLog().logger)
        var configuration = EndpointConfiguration(address: address)
        change(&configuration)
        endpoint = Endpoint(
            configuration: configuration, metrics: renderer, health: health, status: status, registry: registry,
            logger: log.logger)
        try endpoint.start()
        self.address = endpoint.address ?? address
    }

    deinit {
        endpoint.stop()
    }

    func client(receiveBuffer: Int32? = nil) throws -> TestClient {
        let client = try TestClient(address, receiveBuffer: receiveBuffer)
        client.owner = self
        return client
    }

    func get(_ path: String, _ headers: [String] = []) throws -> TestClient.Response {
        try client().get(path, headers)
    }
}
