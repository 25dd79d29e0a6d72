// SPDX-License-Identifier: Apache-2.0

package import MusterHealth
import MusterLock
import MusterMetrics
package import MusterPlatform
import MusterSupervision

/// The metrics of all looping calls of a registry. Finding them takes longer than finding the series of one loop.
struct LoopFamilies: Sendable {
    let lateness: HistogramFamily
    let duration: HistogramFamily
    let drift: GaugeFamily
    let interval: GaugeFamily
    let lastRun: GaugeFamily
    let nextRun: GaugeFamily
    let runs: CounterFamily
    let failures: CounterFamily
    let overruns: CounterFamily
    let skipped: CounterFamily
    let backOff: GaugeFamily
    let backOffs: CounterFamily

    init(registry: MetricRegistry) throws(MetricError) {
        let names = ["backend", "loop"]
        lateness = try registry.histogramFamily(
            "muster_loop_lateness_seconds", help: "Start of a run minus its scheduled start.",
            unit: .seconds, buckets: .lateness, labelNames: names)
        duration = try registry.histogramFamily(
            "muster_loop_run_duration_seconds", help: "How long runs take.",
            unit: .seconds, buckets: .lateness, labelNames: names)
        drift = try registry.gaugeFamily(
            "muster_loop_drift_seconds", help: "How far the schedule has slipped from its ideal grid since the start.",
            unit: .seconds, labelNames: names)
        interval = try registry.gaugeFamily(
            "muster_loop_interval_seconds", help: "The time between two scheduled starts, where it is fixed.",
            unit: .seconds, labelNames: names)
        lastRun = try registry.gaugeFamily(
            "muster_loop_last_run_timestamp_seconds", help: "When the last run began.",
            unit: .seconds, labelNames: names)
        nextRun = try registry.gaugeFamily(
            "muster_loop_next_run_timestamp_seconds",
            help: "When the next run is due; in the past while the loop is overdue.",
            unit: .seconds, labelNames: names)
        runs = try registry.counterFamily(
            "muster_loop_runs_total", help: "Runs begun.", labelNames: names)
        failures = try registry.counterFamily(
            "muster_loop_run_failures_total", help: "Runs that ended with an error.", labelNames: names)
        overruns = try registry.counterFamily(
            "muster_loop_overruns_total", help: "Runs that lasted beyond the next scheduled start.",
            labelNames: names)
        skipped = try registry.counterFamily(
            "muster_loop_skipped_total",
            help:
                "Runs left out: 'overrun' because the one before lasted too long, 'late' because the loop woke too late.",
            labelNames: names + ["reason"])
        backOff = try registry.gaugeFamily(
            "muster_loop_backoff_seconds", help: "How long the loop waits because its runs fail; 0 after a success.",
            unit: .seconds, labelNames: names)
        backOffs = try registry.counterFamily(
            "muster_loop_backoffs_total", help: "Runs after which the loop waited longer because they had failed.",
            labelNames: names)
    }
}

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
    /// Of loops that back off.
    private let backOff: (delay: GaugeMetric, count: CounterMetric)?

    init(_ families: LoopFamilies, loop: String, backend: String, backsOff: Bool = false) {
        lateness = families.lateness.labels(backend, loop)
        duration = families.duration.labels(backend, loop)
        drift = families.drift.labels(backend, loop)
        interval = families.interval.labels(backend, loop)
        lastRun = families.lastRun.labels(backend, loop)
        nextRun = families.nextRun.labels(backend, loop)
        runs = families.runs.labels(backend, loop)
        failures = families.failures.labels(backend, loop)
        overruns = families.overruns.labels(backend, loop)
        skippedLate = families.skipped.labels(backend, loop, "late")
        skippedOverrun = families.skipped.labels(backend, loop, "overrun")
        backOff =
            backsOff ? (families.backOff.labels(backend, loop), families.backOffs.labels(backend, loop)) : nil
    }

    func began(interval fixed: Duration?, due: MonotonicInstant) {
        if let fixed { interval.set(fixed.inSeconds) }
        drift.set(0)
        backOff?.delay.set(0)
        nextRun.set(WallClock.secondsSinceEpoch(at: due))
    }

    /// The loop has woken early, and sleeps on.
    func postponed(to next: MonotonicInstant) {
        nextRun.set(WallClock.secondsSinceEpoch(at: next))
    }

    /// - Returns: When the next run will be due on the wall clock, in seconds.
    func runBegan(_ start: LoopRunStart, at now: MonotonicInstant) -> Double {
        let lead = WallClock.lead
        let next = WallClock.secondsSinceEpoch(at: start.nextDue, lead: lead)
        runs.increment()
        lateness.observe(start.lateness)
        lastRun.set(WallClock.secondsSinceEpoch(at: now, lead: lead))
        // From then on the loop is overdue, however long the run lasts.
        nextRun.set(next)
        if start.skipped > 0 { skippedLate.increment(by: start.skipped) }
        return next
    }

    func runFailed() {
        failures.increment()
    }

    func runEnded(took: Duration) {
        duration.observe(took)
    }

    /// - Parameter next: When the next run is due on the wall clock, where that is known.
    func scheduled(_ end: LoopRunEnd, nextRun next: Double?, interval fixed: Duration?, drift slipped: Duration) {
        nextRun.set(next ?? WallClock.secondsSinceEpoch(at: end.due))
        // Set anew each time: the end of another loop of this name has cleared them.
        if let fixed { interval.set(fixed.inSeconds) }
        drift.set(slipped.inSeconds)
        if let backOff {
            backOff.delay.set(end.backOff.inSeconds)
            if end.backOff > .zero { backOff.count.increment() }
        }
        guard end.overrun != nil else { return }
        overruns.increment()
        if end.skipped > 0 { skippedOverrun.increment(by: end.skipped) }
    }

    /// The loop is over: what says where it stands now vanishes, what it has done stays.
    func ended() {
        for gauge in [drift, interval, nextRun] { gauge.clear() }
        backOff?.delay.clear()
    }
}

/// The looping calls of a backend: those that run now and how they get on, and those that have ended with an error that
/// nobody has waited for.
package final class LoopMonitor: Sendable {
    /// A loop that makes no progress.
    package struct Stall: Hashable, Sendable {
        package enum Cause: Hashable, Sendable {
            /// A run, or the start of one, is overdue by more than the loop's own limit.
            case overdue
            /// Something has blocked the loop's thread for too long.
            case blocked
        }

        /// The loop's name.
        package let loop: String
        package let cause: Cause
        package let by: Duration
        package let limit: Duration

        package var description: String {
            switch cause {
            case .overdue: "looping call '\(loop)' is overdue by \(by.text); its stall limit is \(limit.text)"
            case .blocked: "looping call '\(loop)' has blocked its thread for \(by.text); the limit is \(limit.text)"
            }
        }
    }

    /// The name of the check that shows loops which have ended with an error.
    package static let endedCheck = "ended-looping-calls"
    /// Of more loops with different names, only as many are remembered.
    private static let longestEnded = 64

    private struct State {
        var entries: [ObjectIdentifier: LoopProgress] = [:]
        /// The loops that have ended with an error, by name.
        var ended: [String: (life: ObjectIdentifier, error: String)] = [:]
        /// Where a supervisor sees when a loop has hung, and which have ended.
        var signs: VitalSignsWriter?
    }

    private let state = Locked(State())
    private let families = Locked<LoopFamilies?>(nil)

    /// The metrics of a loop of the backend.
    func instruments(of loop: String, backsOff: Bool, backend: Backend) throws(MetricError) -> LoopInstruments {
        let families: LoopFamilies
        if let known = self.families.withLock({ $0 }) {
            families = known
        } else {
            families = try LoopFamilies(registry: backend.metrics)
            self.families.withLock { $0 = families }
        }
        return LoopInstruments(families, loop: loop, backend: backend.type.rawValue, backsOff: backsOff)
    }

    /// The number of loops that run now.
    package var count: Int { state.withLock { $0.entries.count } }

    /// The loops that make no progress, the worst first, equals by name.
    ///
    /// - Parameters:
    ///   - limit: How long a turn of a loop's thread may take.
    ///   - now: The present instant of the loops' clock.
    package func stalled(limit: Duration, at now: MonotonicInstant) -> [Stall] {
        state.withLock { Array($0.entries.values) }.compactMap { $0.stall(limit: limit, at: now) }
            .sorted { ($1.by, $0.loop) < ($0.by, $1.loop) }
    }

    /// Lets a supervisor see when each loop will have hung, and which have ended. Loops that run already are shown too.
    func publish(to signs: VitalSignsWriter) {
        state.withLock { state in
            state.signs = signs
            for progress in state.entries.values { progress.publish(to: signs) }
        }
        showEnded()
    }

    func add(_ progress: LoopProgress) {
        let wasEnded = state.withLock { state in
            state.entries[ObjectIdentifier(progress)] = progress
            if let signs = state.signs { progress.publish(to: signs) }
            return state.ended.removeValue(forKey: progress.loop) != nil
        }
        if wasEnded { showEnded() }
    }

    func remove(_ progress: LoopProgress) {
        state.withLock { state in
            state.entries[ObjectIdentifier(progress)] = nil
            progress.withdraw()
        }
    }

    // MARK: Loops that have ended with an error

    /// A loop has ended with an error. It counts until someone learns of the error, or a loop of this name starts.
    func ended(_ loop: String, life: LoopRun, error: any Error) {
        state.withLock { state in
            guard state.ended.count < Self.longestEnded || state.ended[loop] != nil else { return }
            state.ended[loop] = (ObjectIdentifier(life), "\(error)")
        }
        showEnded()
    }

    /// The end of a loop's life is known to the application.
    func forget(_ loop: String, life: LoopRun) {
        let wasEnded = state.withLock { state in
            guard state.ended[loop]?.life == ObjectIdentifier(life) else { return false }
            state.ended[loop] = nil
            return true
        }
        if wasEnded { showEnded() }
    }

    /// Warns of the loops that have ended with an error.
    package var endedResult: HealthResult { state.withLock { Self.result(of: $0) } }

    private static func result(of state: State) -> HealthResult {
        let names = state.ended.keys.sorted()
        guard let first = names.first, let error = state.ended[first]?.error else { return .pass }
        let more = names.dropFirst().joined(separator: ", ")
        let others = more.isEmpty ? "" : " (so did: \(more))"
        return .warn("looping call '\(first)' ended with an error\(others): \(error)")
    }

    private func showEnded() {
        // Under the lock, so that the last result shown is the present one.
        state.withLock { state in
            guard let signs = state.signs else { return }
            let result = Self.result(of: state)
            let sign = HealthSign(name: Self.endedCheck, levels: [.ready], result: result, reportedAt: .now)
            signs.setHealth(result == .pass ? [] : [sign], of: Self.endedCheck)
        }
    }
}
