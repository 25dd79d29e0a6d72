// SPDX-License-Identifier: Apache-2.0

import MusterMetrics

/// The metrics of one thread group. Groups of one name add up.
struct ThreadGroupInstruments: Sendable {
    let threads: GaugeMetric
    let limit: GaugeMetric
    let timers: GaugeMetric
    let queueLength: GaugeMetric
    let queueTime: HistogramMetric
    let tasks: CounterMetric
    let failures: CounterMetric
    let rejections: CounterMetric

    init(registry: MetricRegistry, group: String, backend: String) throws(MetricError) {
        let names = ["backend", "group"]
        threads = try registry.gaugeFamily(
            "muster_threadgroup_threads", help: "Threads of the group that are alive.", labelNames: names
        ).labels(backend, group)
        limit = try registry.gaugeFamily(
            "muster_threadgroup_threads_limit", help: "The most threads that the group may have.", labelNames: names
        ).labels(backend, group)
        timers = try registry.gaugeFamily(
            "muster_threadgroup_timers", help: "Timers of the group that run.", labelNames: names
        ).labels(backend, group)
        queueLength = try registry.gaugeFamily(
            "muster_threadgroup_queue_length", help: "Callers that wait for room in the group.", labelNames: names
        ).labels(backend, group)
        queueTime = try registry.histogramFamily(
            "muster_threadgroup_task_queue_seconds", help: "How long callers waited for room in the group.",
            unit: .seconds, buckets: .seconds, labelNames: names
        ).labels(backend, group)
        tasks = try registry.counterFamily(
            "muster_threadgroup_tasks_total", help: "Threads added to the group.", labelNames: names
        ).labels(backend, group)
        failures = try registry.counterFamily(
            "muster_threadgroup_task_failures_total", help: "Threads of the group that ended with an error.",
            labelNames: names
        ).labels(backend, group)
        rejections = try registry.counterFamily(
            "muster_threadgroup_rejections_total", help: "Threads for which the group had no room.",
            labelNames: names
        ).labels(backend, group)
    }
}
