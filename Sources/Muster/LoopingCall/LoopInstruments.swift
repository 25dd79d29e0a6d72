// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
package import MusterPlatform
import MusterSupervision

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

/// The looping calls of a backend that run now, and when each was to give its next sign of life.
package final class LoopMonitor: Sendable {
    /// A loop that has not run when it should have.
    package struct Overdue: Hashable, Sendable {
        /// The loop's name.
        package let loop: String
        /// How long its next start, or the end of its present run, has been due.
        package let by: Duration
    }

    private struct State {
        var entries: [ObjectIdentifier: LoopProgress] = [:]
        /// Where a supervisor sees when a loop has hung, with the limit that counts for most of them.
        var published: (signs: VitalSignsWriter, limit: Duration)?
    }

    private let state = Locked(State())

    /// The number of loops that run now.
    package var count: Int { state.withLock { $0.entries.count } }

    /// The loops that are overdue by more than a limit, the worst first, equals by name.
    ///
    /// - Parameters:
    ///   - limit: The longest time that is in order; a loop with a limit of its own is held to that.
    ///   - now: The present instant of the loops' clock.
    package func overdue(by limit: Duration, at now: MonotonicInstant) -> [Overdue] {
        let all = state.withLock { Array($0.entries.values) }
        return all.compactMap { progress in
            let by = progress.expected.duration(to: now)
            return by > progress.stallLimit ?? limit ? Overdue(loop: progress.loop, by: by) : nil
        }.sorted { ($1.by, $0.loop) < ($0.by, $1.loop) }
    }

    /// Lets a supervisor see when each loop will have hung. Loops that run already are shown too.
    func publish(to signs: VitalSignsWriter, limit: Duration) {
        state.withLock { state in
            state.published = (signs, limit)
            for progress in state.entries.values { progress.publish(to: signs, limit: limit) }
        }
    }

    func add(_ progress: LoopProgress) {
        state.withLock { state in
            state.entries[ObjectIdentifier(progress)] = progress
            if let (signs, limit) = state.published { progress.publish(to: signs, limit: limit) }
        }
    }

    func remove(_ progress: LoopProgress) {
        state.withLock { state in
            state.entries[ObjectIdentifier(progress)] = nil
            progress.withdraw()
        }
    }
}
