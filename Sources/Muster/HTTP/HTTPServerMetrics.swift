// SPDX-License-Identifier: Apache-2.0

import MusterHTTP
import MusterMetrics

/// The metrics of HTTP servers. Used on their loops' threads.
final class HTTPServerMetrics {
    private static let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    /// The label `route` of requests that no route answers.
    private static let unmatched = "unmatched"

    let connections: GaugeMetric
    let active: GaugeMetric

    private struct RouteMetrics {
        let duration: HistogramMetric
        let requestBytes: CounterMetric
        let responseBytes: CounterMetric
        /// By method and status.
        var requests: [Int: CounterMetric] = [:]
    }

    private let requests: MetricFamily<CounterMetric>
    private let closedConnections: [HTTPTransport.ClosingReason: CounterMetric]
    private let patterns: [String]
    /// By the routes' places; the last one is for requests without a route.
    private var routes: [RouteMetrics]

    init(registry: MetricRegistry, routes: [HTTPRouter.Route]) throws(MetricError) {
        connections = try registry.gaugeFamily(
            "http_server_connections", help: "Open connections of the HTTP server.", labelNames: []
        ).labels()
        active = try registry.gaugeFamily(
            "http_server_active_requests", help: "Requests that are being answered.", labelNames: []
        ).labels()
        let closed = try registry.counterFamily(
            "http_server_connections_closed_total",
            help: "Connections that the HTTP server has closed because of a limit.", labelNames: ["reason"])
        var closedConnections: [HTTPTransport.ClosingReason: CounterMetric] = [:]
        for reason in HTTPTransport.ClosingReason.allCases {
            closedConnections[reason] = closed.labels(reason.rawValue)
        }
        self.closedConnections = closedConnections
        requests = try registry.counterFamily(
            "http_server_requests_total", help: "Answered requests; status 0 is a client that left before its answer.",
            labelNames: ["method", "route", "status"])
        let duration = try registry.histogramFamily(
            "http_server_request_duration_seconds", help: "From a request's headers to the end of its answer.",
            unit: .seconds, buckets: .preciseSeconds, labelNames: ["route"])
        let requestBytes = try registry.counterFamily(
            "http_server_request_body_bytes_total", help: "Bytes of requests' bodies.", unit: .bytes,
            labelNames: ["route"])
        let responseBytes = try registry.counterFamily(
            "http_server_response_body_bytes_total", help: "Bytes of responses' bodies.", unit: .bytes,
            labelNames: ["route"])
        patterns = routes.map(\.pattern) + [Self.unmatched]
        self.routes = patterns.map { pattern in
            RouteMetrics(
                duration: duration.labels(pattern), requestBytes: requestBytes.labels(pattern),
                responseBytes: responseBytes.labels(pattern))
        }
        connections.set(0)
        active.set(0)
        // From the start, so that rates see the first ones.
        for route in routes { _ = counter(route.method, route.index, 200) }
    }

    func closed(_ reason: HTTPTransport.ClosingReason) { closedConnections[reason]?.increment() }

    func answered(
        method: String, route: HTTPRouter.Route?, status: Int, received: Int, sent: Int, took duration: Duration
    ) {
        let place = route?.index ?? routes.count - 1
        counter(method, place, status).increment()
        routes[place].duration.observe(duration.inSeconds)
        if received > 0 { routes[place].requestBytes.increment(by: received) }
        if sent > 0 { routes[place].responseBytes.increment(by: sent) }
    }

    private func counter(_ method: String, _ place: Int, _ status: Int) -> CounterMetric {
        let number = Self.methods.firstIndex(of: method) ?? Self.methods.count
        let key = status * 16 + number
        if let known = routes[place].requests[key] { return known }
        let name = number < Self.methods.count ? method : "other"
        let counter = requests.labels(name, patterns[place], "\(status)")
        routes[place].requests[key] = counter
        return counter
    }
}
