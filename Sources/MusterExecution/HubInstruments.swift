// SPDX-License-Identifier: Apache-2.0

public import MusterMetrics
public import MusterPlatform

/// The metrics of the cooperative engine's event loop.
public struct HubInstruments: EventLoopObserver {
    private let lag: HistogramMetric
    private let steps: CounterMetric

    /// Registers the metrics.
    ///
    /// - Parameters:
    ///   - registry: Where to register them.
    ///   - backend: The value of the label `backend`.
    /// - Throws: `MetricError` when the application has taken one of the names for something else.
    public init(registry: MetricRegistry, backend: String) throws(MetricError) {
        lag = try registry.histogramFamily(
            "muster_hub_lag_seconds",
            help: "How long a turn of the hub took: what a due timer or a ready descriptor had to wait at most.",
            unit: .seconds, buckets: .lateness, labelNames: ["backend"]
        ).labels(backend)
        steps = try registry.counterFamily(
            "muster_hub_job_steps_total", help: "Steps of jobs, from one await to the next, that the hub ran.",
            labelNames: ["backend"]
        ).labels(backend)
    }

    /// Takes a turn's figures.
    ///
    /// - Parameters:
    ///   - nanoseconds: How long the turn took.
    ///   - jobs: How many steps it ran.
    public func turnEnded(nanoseconds: Int64, jobs: Int) {
        lag.observe(Double(nanoseconds) * 1e-9)
        if jobs > 0 { steps.increment(by: jobs) }
    }
}
