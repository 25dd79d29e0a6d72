// SPDX-License-Identifier: Apache-2.0

public import MusterMetrics

/// The metrics of an engine's jobs.
public struct JobInstruments: Sendable {
    let jobs: CounterMetric
    let failures: CounterMetric
    private let queued: GaugeMetric
    private let running: GaugeMetric
    private let stopping: GaugeMetric

    /// Registers the metrics.
    ///
    /// - Parameters:
    ///   - registry: Where to register them.
    ///   - backend: The value of the label `backend`.
    /// - Throws: `MetricError` when the application has taken one of the names for something else.
    public init(registry: MetricRegistry, backend: String) throws(MetricError) {
        jobs = try registry.counterFamily(
            "muster_jobs_total", help: "Jobs spawned.", labelNames: ["backend"]
        ).labels(backend)
        failures = try registry.counterFamily(
            "muster_job_failures_total", help: "Jobs that ended with an error.", labelNames: ["backend"]
        ).labels(backend)
        let alive = try registry.gaugeFamily(
            "muster_worker_jobs", help: "Jobs alive, by state.", labelNames: ["backend", "state"])
        queued = alive.labels(backend, JobState.queued.rawValue)
        running = alive.labels(backend, JobState.running.rawValue)
        stopping = alive.labels(backend, JobState.stopping.rawValue)
        // Exported from the start, without taking away what another engine of this name has counted.
        for gauge in [queued, running, stopping] { gauge.add(0) }
    }

    func alive(_ state: JobState) -> GaugeMetric {
        switch state {
        case .queued: queued
        case .running: running
        case .stopping, .finished: stopping
        }
    }
}
