// SPDX-License-Identifier: Apache-2.0

public import MusterMetrics

/// The metrics of a pool of threads for blocking work.
public struct BlockingInstruments: Sendable {
    let threads: GaugeMetric
    let busy: GaugeMetric
    let limit: GaugeMetric
    let queueLength: GaugeMetric
    let tasks: CounterMetric
    let queueTime: HistogramMetric

    /// Registers the metrics.
    ///
    /// - Parameters:
    ///   - registry: Where to register them.
    ///   - backend: The value of the label `backend`.
    /// - Throws: `MetricError` when the application has taken one of the names for something else.
    public init(registry: MetricRegistry, backend: String) throws(MetricError) {
        threads = try registry.gaugeFamily(
            "muster_blocking_pool_threads", help: "Native threads of the pool for blocking work.",
            labelNames: ["backend"]
        ).labels(backend)
        busy = try registry.gaugeFamily(
            "muster_blocking_pool_threads_busy", help: "Threads of the pool for blocking work that run a task.",
            labelNames: ["backend"]
        ).labels(backend)
        limit = try registry.gaugeFamily(
            "muster_blocking_pool_threads_limit", help: "The most threads that the pool for blocking work may have.",
            labelNames: ["backend"]
        ).labels(backend)
        queueLength = try registry.gaugeFamily(
            "muster_blocking_pool_queue_length", help: "Blocking tasks that wait for a thread.",
            labelNames: ["backend"]
        ).labels(backend)
        tasks = try registry.counterFamily(
            "muster_blocking_pool_tasks_total", help: "Blocking tasks started.", labelNames: ["backend"]
        ).labels(backend)
        queueTime = try registry.histogramFamily(
            "muster_blocking_pool_queue_seconds", help: "How long blocking tasks waited for a thread.",
            unit: .seconds, buckets: .seconds, labelNames: ["backend"]
        ).labels(backend)
        for gauge in [threads, busy, queueLength] { gauge.set(0) }
    }
}
