// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
import MusterPlatform

/// The metrics of one looping call.
struct LoopInstruments: Sendable {
    private let lateness: HistogramMetric
    private let duration: HistogramMetric
    private let drift: GaugeMetric
    private let interval: GaugeMetric
    private let lastRun: GaugeMetric
    private let nextRun: GaugeMetric
    private let runs: CounterMetric
    private let failures: CounterMetric
    private let overruns: CounterMetric
    private let skippedLate: CounterMetric
    private let skippedOverrun: CounterMetric

    init(registry: MetricRegistry, loop: String, backend: String) throws(MetricError) {
        let names = ["backend", "loop"]
        lateness = try registry.histogramFamily(
            "muster_loop_lateness_seconds", help: "Start of a run minus its scheduled start.",
            unit: .seconds, buckets: .lateness, labelNames: names
        ).labels(backend, loop)
        duration = try registry.histogramFamily(
            "muster_loop_run_duration_seconds", help: "How long runs take.",
            unit: .seconds, buckets: .lateness, labelNames: names
        ).labels(backend, loop)
        drift = try registry.gaugeFamily(
            "muster_loop_drift_seconds", help: "How far the schedule has slipped from its ideal grid since the start.",
            unit: .seconds, labelNames: names
        ).labels(backend, loop)
        interval = try registry.gaugeFamily(
            "muster_loop_interval_seconds", help: "The time between two scheduled starts, where it is fixed.",
            unit: .seconds, labelNames: names
        ).labels(backend, loop)
        lastRun = try registry.gaugeFamily(
            "muster_loop_last_run_timestamp_seconds", help: "When the last run began.",
            unit: .seconds, labelNames: names
        ).labels(backend, loop)
        nextRun = try registry.gaugeFamily(
            "muster_loop_next_run_timestamp_seconds", help: "When the next run is due.",
            unit: .seconds, labelNames: names
        ).labels(backend, loop)
        runs = try registry.counterFamily(
            "muster_loop_runs_total", help: "Runs begun.", labelNames: names
        ).labels(backend, loop)
        failures = try registry.counterFamily(
            "muster_loop_run_failures_total", help: "Runs that ended with an error.", labelNames: names
        ).labels(backend, loop)
        overruns = try registry.counterFamily(
            "muster_loop_overruns_total", help: "Runs that lasted beyond the next scheduled start.",
            labelNames: names
        ).labels(backend, loop)
        let skipped = try registry.counterFamily(
            "muster_loop_skipped_total",
            help:
                "Runs left out: 'overrun' because the one before lasted too long, 'late' because the loop woke too late.",
            labelNames: names + ["reason"])
        skippedLate = skipped.labels(backend, loop, "late")
        skippedOverrun = skipped.labels(backend, loop, "overrun")
    }

    func began(interval fixed: Duration?, due: MonotonicInstant) {
        if let fixed { interval.set(fixed.inSeconds) }
        drift.set(0)
        nextRun.set(WallClock.secondsSinceEpoch(at: due))
    }

    func runBegan(_ start: LoopRunStart, at now: MonotonicInstant) {
        runs.increment()
        lateness.observe(start.lateness.inSeconds)
        lastRun.set(WallClock.secondsSinceEpoch(at: now))
        if start.skipped > 0 { skippedLate.increment(by: start.skipped) }
    }

    func runFailed() {
        failures.increment()
    }

    func runEnded(took: Duration) {
        duration.observe(took.inSeconds)
    }

    func scheduled(_ end: LoopRunEnd, interval fixed: Duration?, drift slipped: Duration) {
        nextRun.set(WallClock.secondsSinceEpoch(at: end.due))
        // Set anew each time: the end of another loop of this name has cleared them.
        if let fixed { interval.set(fixed.inSeconds) }
        drift.set(slipped.inSeconds)
        guard end.overrun != nil else { return }
        overruns.increment()
        if end.skipped > 0 { skippedOverrun.increment(by: end.skipped) }
    }

    /// The loop is over: what says where it stands now vanishes, what it has done stays.
    func ended() {
        for gauge in [drift, interval, nextRun] { gauge.clear() }
    }
}
