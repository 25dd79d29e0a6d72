// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterEndpoint
import MusterExecution
import MusterHealth
import MusterLock
import MusterMetrics
import MusterPlatform
import MusterSupervision

/// Puts together what the workers' series say: what each worker runs, and each looping call over the workers of a
/// group that run the same backend.
///
/// Whatever a broken worker has left in its arena, what comes out is bounded, and every number is finite.
struct StatusCollector {
    private struct Key: Hashable {
        var group: String
        var name: String
        var backend: String
    }

    /// How many loops are told apart at most; more are counted only.
    private static let loopLimit = 4 * StatusLimits.loops

    private var loops: [Key: LoopStatus] = [:]
    private var histograms: [Key: HistogramSnapshot] = [:]
    private var durations: [Key: (count: Double, sum: Double)] = [:]
    private var seen: Set<Key> = []
    private var beyondLimit = 0
    private var unread = 0
    private(set) var backends: [BackendStatus] = []
    /// The lateness of all runs of all loops.
    private(set) var lateness: HistogramSnapshot?

    /// Takes in the series of one worker.
    ///
    /// - Parameters:
    ///   - reader: Its series.
    ///   - limit: How many of each family are read.
    ///   - worker: What is known of the worker; gets its backend and jobs.
    mutating func add(_ reader: any SeriesReader, limit: Int, to worker: inout WorkerStatus) {
        add(reader.read(StatusFamilies.all, limit: limit), to: &worker)
        // Workers usually have the same loops, so what is not read of one is what is not read of another.
        unread = max(unread, reader.seriesCount(of: StatusFamilies.runs) - limit)
    }

    private mutating func add(_ readings: [SeriesReading], to worker: inout WorkerStatus) {
        seen.removeAll(keepingCapacity: true)
        var jobs: Double?
        for reading in readings {
            switch reading.family {
            case StatusFamilies.backend:
                guard worker.backend == nil, reading.number == 1 else { continue }
                worker.backend = reading["backend"]
                worker.backendSource = reading["source"]
            case StatusFamilies.jobs:
                jobs = (jobs ?? 0) + (reading.number ?? 0)
            default:
                add(reading, group: worker.group)
            }
        }
        worker.jobs = jobs.flatMap { Int(exactly: $0.rounded()) }.map { max(0, $0) }
        if let name = worker.backend { count(name, source: worker.backendSource ?? "") }
    }

    private mutating func count(_ name: String, source: String) {
        if let known = backends.firstIndex(where: { $0.name == name && $0.source == source }) {
            backends[known].workers += 1
        } else if backends.count < 16 {
            backends.append(BackendStatus(name: name, source: source, workers: 1))
        }
    }

    private mutating func add(_ reading: SeriesReading, group: String) {
        guard let name = reading["loop"], let backend = reading["backend"] else { return }
        let key = Key(group: group, name: name, backend: backend)
        if loops[key] == nil {
            guard loops.count < Self.loopLimit else {
                if reading.family == StatusFamilies.runs { beyondLimit += 1 }
                return
            }
            loops[key] = LoopStatus(group: group, name: name, backend: backend)
        }
        if let histogram = reading.histogram {
            if reading.family == StatusFamilies.lateness { add(histogram, to: key) }
            if reading.family == StatusFamilies.duration {
                durations[key, default: (0, 0)].count += Double(histogram.count)
                durations[key, default: (0, 0)].sum += histogram.sum
            }
            return
        }
        guard let number = reading.number else { return }
        if reading.family == StatusFamilies.task {
            guard number == 1, let schedule = reading["schedule"], let placement = reading["runs_in"] else { return }
            loops[key]?.schedule = "\(schedule), \(placement)"
            return
        }
        loops[key]?.take(reading.family, number)
        if reading.family == StatusFamilies.runs, number > 0, seen.insert(key).inserted { loops[key]?.workers += 1 }
    }

    private mutating func add(_ histogram: HistogramSnapshot, to key: Key) {
        if histograms[key] == nil { histograms[key] = histogram } else { histograms[key]?.add(histogram) }
        if lateness == nil { lateness = histogram } else { lateness?.add(histogram) }
    }

    /// To the nanosecond: it is an estimate.
    private func quantile(_ share: Double, of key: Key) -> Double? {
        histograms[key]?.quantile(share).map { ($0 * 1e9).rounded() / 1e9 }
    }

    /// Puts what was collected into a report.
    func fill(_ report: inout StatusReport) {
        report.backends = backends.sorted { ($1.workers, $0.name, $0.source) < ($0.workers, $1.name, $1.source) }
        let sorted = loops.sorted { first, second in
            (first.key.group, first.key.name, first.key.backend)
                < (second.key.group, second.key.name, second.key.backend)
        }
        report.loops = sorted.prefix(StatusLimits.loops).map { key, loop in
            var loop = loop
            loop.latenessP50Seconds = quantile(0.5, of: key)
            loop.latenessP99Seconds = quantile(0.99, of: key)
            loop.meanRunSeconds = durations[key].flatMap { count, sum -> Double? in
                let mean = sum / count
                return mean.isFinite && mean >= 0 ? (mean * 1e9).rounded() / 1e9 : nil
            }
            return loop
        }
        report.omitted.loops = max(0, sorted.count - StatusLimits.loops) + beyondLimit + unread
    }
}

extension LoopStatus {
    /// Takes one worker's number in.
    fileprivate mutating func take(_ family: String, _ number: Double) {
        switch family {
        case StatusFamilies.runs: runs = sum(runs, number)
        case StatusFamilies.failures: failures = sum(failures, number)
        case StatusFamilies.overruns: overruns = sum(overruns, number)
        case StatusFamilies.skipped: skipped = sum(skipped, number)
        case StatusFamilies.drift:
            if number.magnitude >= driftSeconds?.magnitude ?? 0 { driftSeconds = number }
        case StatusFamilies.interval: intervalSeconds = max(intervalSeconds ?? number, number)
        case StatusFamilies.lastRun: lastRunAt = max(lastRunAt ?? number, number)
        case StatusFamilies.nextRun: nextRunAt = min(nextRunAt ?? number, number)
        default: break
        }
    }

    /// A sum that stays at the largest number that JSON's readers take for an integer.
    private func sum(_ first: UInt64, _ second: Double) -> UInt64 {
        let largest = 0x1p53
        return UInt64(min(Double(first) + max(0, second), largest))
    }
}

/// The metrics that a status is made of.
enum StatusFamilies {
    static let lateness = "muster_loop_lateness_seconds"
    static let duration = "muster_loop_run_duration_seconds"
    static let task = "muster_periodic_task_info"
    static let drift = "muster_loop_drift_seconds"
    static let interval = "muster_loop_interval_seconds"
    static let lastRun = "muster_loop_last_run_timestamp_seconds"
    static let nextRun = "muster_loop_next_run_timestamp_seconds"
    static let runs = "muster_loop_runs_total"
    static let failures = "muster_loop_run_failures_total"
    static let overruns = "muster_loop_overruns_total"
    static let skipped = "muster_loop_skipped_total"
    static let jobs = "muster_worker_jobs"
    static let backend = "muster_backend_info"

    static let all: Set<String> = [
        lateness, duration, task, drift, interval, lastRun, nextRun, runs, failures, overruns, skipped, jobs, backend,
    ]
    /// How many series of each are read of a worker: the more workers there are, the fewer, so that a look takes some
    /// tens of milliseconds at most.
    static func seriesLimit(workers: Int) -> Int {
        min(1000, max(20, 60_000 / (all.count * max(1, workers))))
    }
}

/// How a program is doing that runs everything in one process: the process is the worker 0.
final class SingleProcessStatus: StatusSource {
    private let name: String
    private let slot: Int
    private let backend: Backend
    private let reader: ArenaReader
    private let sampler: ProcessSampler
    private let liveness: Duration
    /// What the launcher's services are doing; they run where nothing else is known.
    private let state = Locked<(@Sendable () -> WorkerState)?>(nil)

    init(
        name: String, slot: Int = 0, backend: Backend, reader: ArenaReader, sampler: ProcessSampler, liveness: Duration
    ) {
        self.name = name
        self.slot = slot
        self.backend = backend
        self.reader = reader
        self.sampler = sampler
        self.liveness = liveness
    }

    func show(_ state: @escaping @Sendable () -> WorkerState) {
        self.state.withLock { $0 = state }
    }

    func look() -> StatusLook {
        let now = WallClock.secondsSinceEpoch
        let process = ProcessStatus(pid: getpid(), sampler.sample(), at: now)
        var status = StatusReport(
            at: now, name: name, mode: .process, version: MusterVersion.status, process: process)
        let state = self.state.withLock { $0 }?() ?? .ready
        var worker = WorkerStatus(group: name, slot: slot, state: isHung ? .hung : state)
        worker.process = process
        let behind = max(backend.engine.stalledTime, .zero)
        worker.heartbeatAgeSeconds = behind.inSeconds
        worker.heartbeatAt = now - behind.inSeconds
        worker.isReadable = reader.damage == nil
        var collector = StatusCollector()
        collector.add(reader, limit: StatusFamilies.seriesLimit(workers: 1), to: &worker)
        status.workers = [worker]
        status.groups = [
            WorkerGroupStatus(name: name, wantedWorkers: 1, readyWorkers: worker.state == .ready ? 1 : 0)
        ]
        collector.fill(&status)
        return StatusLook(report: status, isStopping: state == .stopping, lateness: collector.lateness)
    }

    private var isHung: Bool {
        backend.engine.stalledTime > liveness
            || !backend.loops.stalled(limit: liveness, at: backend.engine.clock.now).isEmpty
    }
}

/// How a supervisor and its workers are doing. It reads what they have left in memory and asks the kernel, so a worker
/// that hangs is shown as quickly as one that does not.
final class SupervisorStatus: StatusSource {
    private let launched: LaunchedServices
    private let published: PublishedSupervisor
    private let sampler = ProcessSampler()

    init(of published: PublishedSupervisor, launched: LaunchedServices) {
        self.published = published
        self.launched = launched
    }

    func look() -> StatusLook {
        let report = published.report
        let now = WallClock.secondsSinceEpoch
        var status = StatusReport(
            at: now, name: launched.all.map(\.service.name).joined(separator: ", "), mode: .supervisor,
            version: MusterVersion.status, process: ProcessStatus(pid: getpid(), sampler.sample(), at: now))
        guard let report else { return StatusLook(report: status) }
        status.isReloading = report.snapshot.isReloading
        var collector = StatusCollector()
        let limit = StatusFamilies.seriesLimit(workers: report.slots.count)
        for group in report.snapshot.groups {
            status.groups.append(WorkerGroupStatus(group))
            for slot in group.slots {
                // A slot that is not wanted and has no process has nothing to show.
                guard let state = WorkerState(slot.state) else { continue }
                guard status.workers.count < StatusLimits.workers else {
                    status.omitted.workers += 1
                    continue
                }
                var worker = WorkerStatus(group: group.configuration.name, slot: slot.worker.slot, state: state)
                worker.take(slot, slot.incarnation.flatMap { report.processes[$0] }, report.slots[slot.worker], now)
                if let kept = report.slots[slot.worker] {
                    collector.add(kept.source, limit: limit, to: &worker)
                }
                status.workers.append(worker)
            }
        }
        collector.fill(&status)
        return StatusLook(
            report: status, isStopping: report.snapshot.phase != .running, lateness: collector.lateness)
    }
}

extension WorkerState {
    /// - Parameter state: What a slot is doing; one that is empty has no state to show.
    fileprivate init?(_ state: WorkerSnapshot.State) {
        switch state {
        case .starting: self = .starting
        case .ready: self = .ready
        case .stopping: self = .stopping
        case .aborting: self = .hung
        case .backoff: self = .backoff
        case .finished: self = .finished
        case .empty: return nil
        }
    }
}

extension WorkerGroupStatus {
    fileprivate init(_ group: WorkerGroupSnapshot) {
        let wanted = group.slots.prefix(group.workers)
        self.init(
            name: group.configuration.name, wantedWorkers: group.workers,
            readyWorkers: wanted.count { $0.state == .ready })
        readySpares = group.sparesParked
        startingSpares = group.sparesStarting
        restarts = group.slots.reduce(0) { $0 + $1.restartsByReason.total }
        restartsTooOften = group.isOverIntensity
    }
}

extension WorkerStatus {
    fileprivate mutating func take(
        _ slot: WorkerSnapshot, _ live: SupervisorReport.Process?, _ kept: SupervisorReport.Slot?, _ now: Double
    ) {
        starts = slot.starts
        for reason in DeathReason.allCases where slot.restartsByReason[reason] > 0 {
            restarts[reason.rawValue] = slot.restartsByReason[reason]
        }
        lastRestartReason = slot.latestRestart?.reason.rawValue
        lastRestartAt = slot.latestRestart.map { WallClock.secondsSinceEpoch(at: $0.at) }
        if slot.state == .backoff { backoffSeconds = slot.currentDelay.inSeconds }
        if let kept { isReadable = kept.source.isReadable }
        guard let live else { return }
        var figures = ProcessStatus(pid: live.pid, live.sampler.sample(), at: now)
        figures.cpuSeconds = figures.cpuSeconds.map { $0 + (kept?.cpuSeconds ?? 0) }
        process = figures
        let instant = MonotonicInstant.now
        let progress = live.vitalSigns.lastProgress(at: instant, stoppedSince: live.stoppedSince)
        heartbeatAt = WallClock.secondsSinceEpoch(at: progress)
        heartbeatAgeSeconds = max(0, progress.duration(to: instant).inSeconds)
    }
}
