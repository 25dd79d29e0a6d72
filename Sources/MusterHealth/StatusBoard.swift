// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterMetrics
package import MusterPlatform

/// Makes the reports: asks the source, adds health checks and history, and says in a word how all of it is.
///
/// Many who look at once cost no more than a few: a report stands for a moment, the longer the more it has cost.
package final class StatusBoard: Sendable {
    private struct WorkerKey: Hashable {
        var group: String
        var slot: Int
    }

    private struct State {
        var report: StatusReport?
        var standsUntil = MonotonicInstant(nanoseconds: 0)
        var history = HistoryRing(capacity: StatusLimits.points)
        var pointAt: MonotonicInstant?
        var lateness: HistogramSnapshot?
        var cpuSeconds: [WorkerKey: Double] = [:]
        var cpuCores: [WorkerKey: Double] = [:]
        /// Whether it has been seen started: what fails later is no start.
        var hasStarted = false
    }

    private static let shortestStand: Duration = .milliseconds(100)

    private let source: any StatusSource
    private let health: HealthRegistry
    private let clock: any RuntimeClock
    private let state = Locked(State())

    package init(source: any StatusSource, health: HealthRegistry, clock: any RuntimeClock = SystemClock()) {
        self.source = source
        self.health = health
        self.clock = clock
    }

    /// The service a moment ago, as long as that report stands.
    package var standing: StatusReport? {
        let now = clock.now
        return state.withLock { $0.standsUntil > now ? $0.report : nil }
    }

    /// The service now, or a moment ago. One thread asks at a time.
    package func report() -> StatusReport {
        let start = clock.now
        if let standing { return standing }
        // Checks are asked without the lock: one that uses the endpoint finds it free.
        var look = source.look()
        look.report.health = health.status
        return state.withLock { state in
            finish(&look, at: start, &state)
            let cost = start.duration(to: clock.now)
            state.report = look.report
            state.standsUntil = start.advanced(by: max(Self.shortestStand, cost * 5))
            return look.report
        }
    }

    /// Whether enough time has passed for another point of the history.
    package var isPointDue: Bool { state.withLock { isPointDue($0, clock.now) } }

    /// Takes a point of the history when one is due.
    package func takePoint() {
        if isPointDue { _ = report() }
    }

    private func isPointDue(_ state: State, _ now: MonotonicInstant) -> Bool {
        guard let last = state.pointAt else { return true }
        return last.duration(to: now).inSeconds >= StatusLimits.pointDistanceSeconds
    }

    private func finish(_ look: inout StatusLook, at now: MonotonicInstant, _ state: inout State) {
        if isPointDue(state, now) { takePoint(look, at: now, &state) }
        for index in look.report.workers.indices {
            look.report.workers[index].cpuCores = state.cpuCores[key(look.report.workers[index])]
        }
        look.report.history = state.history.history
        look.report.state = word(for: look, &state)
    }

    private func takePoint(_ look: StatusLook, at now: MonotonicInstant, _ state: inout State) {
        let report = look.report
        let seconds = state.pointAt.map { $0.duration(to: now).inSeconds }
        var cpuSeconds: [WorkerKey: Double] = [:]
        var cpuCores: [WorkerKey: Double] = [:]
        for worker in report.workers {
            let key = key(worker)
            guard let spent = worker.process?.cpuSeconds else { continue }
            cpuSeconds[key] = spent
            if let before = state.cpuSeconds[key], let seconds { cpuCores[key] = max(0, spent - before) / seconds }
        }
        state.cpuSeconds = cpuSeconds
        state.cpuCores = cpuCores
        // Without a point before there is no time that the runs could belong to.
        var recent: HistogramSnapshot?
        if state.pointAt != nil, let lateness = look.lateness {
            recent = state.lateness.map { lateness.since($0) } ?? lateness
        }
        state.lateness = look.lateness
        state.pointAt = now
        state.history.append(
            HistoryRing.Point(
                at: (report.at * 1000).rounded() / 1000,
                latenessP99Seconds: recent?.quantile(0.99).map { ($0 * 1e9).rounded() / 1e9 },
                threads: report.workers.reduce(0) { $0 + ($1.process?.threads ?? 0) },
                restarts: report.groups.reduce(0) { $0 + $1.restarts },
                readyWorkers: report.groups.reduce(0) { $0 + $1.readyWorkers }))
    }

    private func key(_ worker: WorkerStatus) -> WorkerKey { WorkerKey(group: worker.group, slot: worker.slot) }

    private func word(for look: StatusLook, _ state: inout State) -> ServiceState {
        let report = look.report
        let hasFailedStart = report.health.startup == .fail
        if !hasFailedStart { state.hasStarted = true }
        if look.isStopping { return .stopping }
        if report.health.live == .fail { return .failing }
        if hasFailedStart, !state.hasStarted { return .starting }
        if report.health.ready == .fail { return .unready }
        let isImpaired =
            report.health.checks.contains { $0.state == .warn || $0.state == .fail }
            || report.groups.contains { $0.restartsTooOften || $0.readyWorkers < $0.wantedWorkers }
            || report.workers.contains { !$0.isReadable || $0.state == .hung }
        return isImpaired ? .degraded : .ready
    }
}

/// The last points of a history. Its memory is taken once, so that no number of looks makes it grow.
private struct HistoryRing: Sendable {
    /// One point, as ``StatusHistory`` describes it.
    struct Point: Hashable, Sendable {
        var at: Double
        var latenessP99Seconds: Double?
        var threads: Int
        var restarts: Int
        var readyWorkers: Int
    }

    private var points: [Point] = []
    /// Where the oldest point is, once there are as many as there may be.
    private var oldest = 0
    private let capacity: Int

    /// - Parameter capacity: How many points are kept; at least one.
    init(capacity: Int) {
        self.capacity = max(1, capacity)
        points.reserveCapacity(self.capacity)
    }

    mutating func append(_ point: Point) {
        if points.count < capacity {
            points.append(point)
        } else {
            points[oldest] = point
            oldest = (oldest + 1) % capacity
        }
    }

    /// All points in their order, as a report shows them.
    var history: StatusHistory {
        var history = StatusHistory()
        for point in points[oldest...] + points[..<oldest] {
            history.at.append(point.at)
            history.latenessP99Seconds.append(point.latenessP99Seconds)
            history.threads.append(point.threads)
            history.restarts.append(point.restarts)
            history.readyWorkers.append(point.readyWorkers)
        }
        return history
    }
}
