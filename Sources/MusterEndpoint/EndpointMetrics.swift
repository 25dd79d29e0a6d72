// SPDX-License-Identifier: Apache-2.0

import MusterHTTP
import MusterHealth
import MusterMetrics

/// What the endpoint counts of itself. Belongs to the endpoint's thread.
final class EndpointMetrics {
    private struct HealthKey: Hashable {
        var check: String
        var level: HealthLevel
    }

    private let requests: CounterFamily
    private let closings: CounterFamily
    private let health: GaugeFamily
    private let scrapes: HistogramMetric
    private let webConfigLoads: CounterFamily
    private let webConfigValid: GaugeMetric
    private let certificateExpiry: GaugeMetric
    private var requestCounters: [Int: CounterMetric] = [:]
    private var healthGauges: [HealthKey: GaugeMetric] = [:]

    init(_ registry: MetricRegistry) throws(MetricError) {
        requests = try registry.counterFamily(
            "muster_endpoint_requests_total", help: "HTTP requests answered by the endpoint.",
            labelNames: ["route", "code"])
        closings = try registry.counterFamily(
            "muster_endpoint_connections_closed_total",
            help: "Connections closed by the endpoint because of a limit.", labelNames: ["reason"])
        health = try registry.gaugeFamily(
            "muster_health_check_status", help: "1 if the health check passed when last evaluated, else 0.",
            labelNames: ["check", "level"])
        scrapes = try registry.histogram(
            "muster_scrape_duration_seconds",
            help: "Time to collect and render the metrics of one scrape.", unit: .seconds,
            buckets: HistogramBuckets([
                0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
            ]).precise())
        webConfigLoads = try registry.counterFamily(
            "muster_endpoint_web_config_loads_total",
            help: "Versions of the web config file that were read.", labelNames: ["outcome"])
        webConfigValid = try registry.gauge(
            "muster_endpoint_web_config_valid",
            help: "Whether the newest version of web config file loaded (1), or an older one because "
                + "the newest is bad (0). 1 without such a file.")
        certificateExpiry = try registry.gauge(
            "muster_endpoint_certificate_expiry_timestamp_seconds",
            help: "Unix time at which the first of the endpoint's TLS certificates expires.", unit: .seconds)
        for outcome in ["success", "failure"] { _ = webConfigLoads.labels(outcome) }
        webConfigValid.set(1)
        for reason in HTTPTransport.ClosingReason.allCases { _ = closings.labels(reason.rawValue) }
        for route in RouteLabel.allCases {
            _ = counter(route, route == .other ? 404 : 200)
            if route != .other { _ = counter(route, 503) }
        }
    }

    private func counter(_ route: RouteLabel, _ status: Int) -> CounterMetric {
        let key = status << 8 | route.rawValue
        if let known = requestCounters[key] { return known }
        let counter = requests.labels(route.text, String(status))
        requestCounters[key] = counter
        return counter
    }

    func countRequest(_ route: RouteLabel, _ status: Int) {
        counter(route, status).increment()
    }

    func countClosing(_ reason: HTTPTransport.ClosingReason) {
        closings.labels(reason.rawValue).increment()
    }

    /// Records how long a rendering took; it shows from the next scrape on.
    func recordScrape(_ duration: Duration) {
        scrapes.observe(duration)
    }

    /// Counts a version of the web config file.
    func countWebConfig(isValid: Bool) {
        webConfigLoads.labels(isValid ? "success" : "failure").increment()
        webConfigValid.set(isValid ? 1 : 0)
    }

    /// Shows when the endpoint's certificates expire; `nil` without TLS.
    func setCertificateExpiry(_ seconds: Int64?) {
        if let seconds { certificateExpiry.set(Double(seconds)) } else { certificateExpiry.clear() }
    }

    func record(_ report: HealthReport) {
        for entry in report.entries where !entry.isExcluded {
            let key = HealthKey(check: entry.name, level: report.level)
            let gauge = healthGauges[key] ?? health.labels(entry.name, report.level.rawValue)
            healthGauges[key] = gauge
            gauge.set(entry.result.isPassing ? 1 : 0)
        }
    }
}

/// A route's name in metrics.
enum RouteLabel: Int, CaseIterable {
    case index
    case status
    case metrics
    case live
    case ready
    case startup
    case other

    var text: String {
        switch self {
        case .index: "/"
        case .status: "/status"
        case .metrics: "/metrics"
        case .live: "/livez"
        case .ready: "/readyz"
        case .startup: "/startupz"
        case .other: "other"
        }
    }
}
