// SPDX-License-Identifier: Apache-2.0

import Muster

/// The application's own metrics.
struct StoreMetrics: Sendable {
    let requests: CounterFamily
    let duration: HistogramFamily
    let items: GaugeFamily
    let bytes: GaugeFamily
    let expired: CounterFamily

    init(_ registry: MetricRegistry) throws {
        requests = try registry.counterFamily(
            "demo_http_requests_total", help: "Requests answered.", labelNames: ["route", "code"])
        duration = try registry.histogramFamily(
            "demo_http_request_duration_seconds", help: "From the whole request to the whole answer.",
            unit: .seconds, labelNames: ["route"])
        items = try registry.gaugeFamily(
            "demo_store_items", help: "Items in a shard, as this worker last saw it.", labelNames: ["shard"])
        bytes = try registry.gaugeFamily(
            "demo_store_size_bytes", help: "Bytes of the values in a shard, as this worker last saw it.", unit: .bytes,
            labelNames: ["shard"])
        expired = try registry.counterFamily(
            "demo_store_expired_items_total", help: "Items removed because their time was over.",
            labelNames: ["shard"])
    }
}
