// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterMetrics
import MusterPlatform
import MusterSupervision

/// The supervisor's metrics about its workers and itself.
final class SupervisorMetrics: MetricSource {
    let signals: CounterFamily
    private let reloads: CounterFamily
    private let startups: HistogramFamily
    private let stops: HistogramFamily
    private let reloadTimes: HistogramFamily
    private let published: PublishedSupervisor
    /// When the processes that start were started, and when the latest reload began.
    private let begun = Locked<(processes: [Int: MonotonicInstant], reload: MonotonicInstant?)>(([:], nil))

    init(of published: PublishedSupervisor, registry: MetricRegistry) throws {
        self.published = published
        signals = try registry.counterFamily(
            "muster_signals_total", help: "Signals received.", labelNames: ["signal"])
        try LogQueue.shared.countDropped(in: registry)
        reloads = try registry.counterFamily(
            "muster_reloads_total", help: "Reloads by outcome.", labelNames: ["method", "outcome"])
        for method in RestartMethod.allCases {
            for outcome in ReloadOutcome.allCases {
                _ = reloads.labels(method.rawValue, outcome.rawValue)
            }
        }
        startups = try registry.histogramFamily(
            "muster_worker_startup_seconds", help: "Time from the start of a worker process until it was ready.",
            unit: .seconds, labelNames: ["worker_group"])
        stops = try registry.histogramFamily(
            "muster_worker_stop_seconds", help: "Time from the request to stop a worker process until it had exited.",
            unit: .seconds, labelNames: ["worker_group"])
        reloadTimes = try registry.histogramFamily(
            "muster_reload_seconds", help: "Time that completed and aborted reloads took.", unit: .seconds,
            labelNames: ["method"])
        for method in RestartMethod.allCases { _ = reloadTimes.labels(method.rawValue) }
    }

    /// Exports the series of a launched service.
    func add(group: String) {
        _ = startups.labels(group)
        _ = stops.labels(group)
    }

    func started(_ incarnation: Int) {
        begun.withLock { $0.processes[incarnation] = .now }
    }

    func ready(_ incarnation: Int, group: String) {
        guard let start = begun.withLock({ $0.processes.removeValue(forKey: incarnation) }) else { return }
        startups.labels(group).observe(start.duration(to: .now))
    }

    func died(_ death: WorkerDeath, group: String) {
        begun.withLock { $0.processes[death.incarnation] = nil }
        if let time = death.stopTime { stops.labels(group).observe(time) }
    }

    func reloadBegan() {
        begun.withLock { $0.reload = .now }
    }

    func reloadEnded(_ outcome: ReloadOutcome, method: RestartMethod) {
        reloads.labels(method.rawValue, outcome.rawValue).increment()
        switch outcome {
        case .completed, .aborted:
            if let start = begun.withLock({ $0.reload }) {
                reloadTimes.labels(method.rawValue).observe(start.duration(to: .now))
            }
        case .refused, .superseded: break
        }
    }

    // MARK: At a scrape

    func prepare(for format: ExpositionFormat) -> any PreparedMetrics {
        guard let report = published.report else { return CollectorSource { [] }.prepare(for: format) }
        return CollectorSource { Self.families(report) }.prepare(for: format)
    }

    private static func families(_ report: SupervisorReport) -> [CollectedFamily] {
        var families = WorkerFamilies()
        let processes = Dictionary(grouping: report.processes.values, by: \.target)
        for group in report.snapshot.groups {
            for slot in group.slots {
                let process = slot.incarnation.flatMap { report.processes[$0] }
                // Those that come up for the slot, and those that it has left and that still stop.
                let others = processes[.slot(slot.worker)]?.filter { $0.incarnation != slot.incarnation } ?? []
                families.add(
                    slot, group: group.configuration.name, process: process, others: others,
                    kept: report.slots[slot.worker])
            }
            families.add(statesOf: group)
        }
        return families.all
    }
}

/// The metrics of workers that are collected at a scrape, by a single process or by a supervisor.
struct WorkerFamilies {
    typealias Labels = [(name: String, value: String)]

    private var samples: [FamilyDescriptor: [(labels: Labels, value: Double)]] = [:]
    private var order: [FamilyDescriptor] = []

    var all: [CollectedFamily] { order.map { CollectedFamily($0, samples: samples[$0] ?? []) } }

    private mutating func add(_ descriptor: FamilyDescriptor, _ labels: Labels, _ value: Double?) {
        guard let value else { return }
        if samples[descriptor] == nil { order.append(descriptor) }
        samples[descriptor, default: []].append((labels, value))
    }

    // MARK: One process

    /// Adds the figures of a running worker process.
    mutating func add(_ process: ProcessStatistics, labels: Labels, cpuBefore: Double = 0) {
        add(Self.up, labels, 1)
        add(Self.threads, labels, process.threads.map(Double.init))
        add(Self.cpu, labels, process.cpuSeconds.map { cpuBefore + $0 })
        add(Self.memory, labels, process.residentMemoryBytes)
        add(Self.anonymousMemory, labels, process.anonymousMemoryBytes)
        add(Self.descriptors, labels, process.openDescriptors.map(Double.init))
        add(Self.start, labels, process.startTimeSeconds)
    }

    // MARK: A supervisor's workers

    /// Adds the figures of a slot.
    mutating func add(
        _ slot: WorkerSnapshot, group: String, process: SupervisorReport.Process?,
        others: [SupervisorReport.Process], kept: SupervisorReport.Slot?
    ) {
        let labels: Labels = [("worker", "\(slot.worker.slot)"), ("worker_group", group)]
        let before = others.reduce(kept?.cpuSeconds ?? 0) { $0 + ($1.sampler.sample().cpuSeconds ?? 0) }
        if let process {
            add(process.sampler.sample(), labels: labels, cpuBefore: before)
            let progress = process.vitalSigns.lastProgress(at: .now, stoppedSince: process.stoppedSince)
            add(Self.heartbeat, labels, WallClock.secondsSinceEpoch(at: progress))
        } else {
            add(Self.up, labels, 0)
            add(Self.cpu, labels, before)
        }
        add(Self.starts, labels, Double(slot.starts))
        add(Self.backoff, labels, slot.state == .backoff ? slot.currentDelay.inSeconds : 0)
        add(Self.nextStart, labels, slot.nextStart.map { WallClock.secondsSinceEpoch(at: $0) })
        for reason in DeathReason.allCases {
            add(Self.restarts, labels + [("reason", reason.rawValue)], Double(slot.restartsByReason[reason]))
        }
        if let kept { add(Self.scrapeSuccess, labels, kept.source.isReadable ? 1 : 0) }
    }

    /// Adds the number of a group's workers in each state.
    mutating func add(statesOf group: WorkerGroupSnapshot) {
        var counts: [(state: String, count: Int)] = [
            ("starting", 0), ("ready", 0), ("stopping", 0), ("hung", 0), ("backoff", 0),
        ]
        for slot in group.slots {
            let index: Int? =
                switch slot.state {
                case .starting: 0
                case .ready: 1
                case .stopping: 2
                case .aborting: 3
                case .backoff: 4
                case .finished, .empty: nil
                }
            if let index { counts[index].count += 1 }
        }
        counts[0].count += group.successors
        counts[2].count += group.surplus - group.successors
        counts.append(("spare", group.sparesParked + group.sparesStarting))
        for (state, count) in counts {
            add(
                Self.workers, [("state", state), ("worker_group", group.configuration.name)], Double(count))
        }
        guard group.configuration.warmSpares > 0 || group.spareDeathsByReason.total > 0 else { return }
        for reason in DeathReason.allCases {
            add(
                Self.spareExits, [("reason", reason.rawValue), ("worker_group", group.configuration.name)],
                Double(group.spareDeathsByReason[reason]))
        }
    }

    // MARK: Descriptions

    private static let up = FamilyDescriptor(
        name: "muster_worker_up", type: .gauge, help: "1 if the slot has a running process, else 0.")
    private static let threads = FamilyDescriptor(
        name: "muster_worker_threads", type: .gauge, help: "Number of OS threads in the worker process.")
    private static let cpu = FamilyDescriptor(
        name: "muster_worker_cpu_seconds_total", type: .counter,
        help: "Total user and system CPU time of the slot's processes.", unit: .seconds)
    private static let memory = FamilyDescriptor(
        name: "muster_worker_resident_memory_bytes", type: .gauge, help: "Resident memory of the worker process.",
        unit: .bytes)
    private static let anonymousMemory = FamilyDescriptor(
        name: "muster_worker_anonymous_memory_bytes", type: .gauge,
        help: "Resident memory of the worker process that belongs to no file.", unit: .bytes)
    private static let descriptors = FamilyDescriptor(
        name: "muster_worker_open_fds", type: .gauge, help: "Number of open file descriptors in the worker process.")
    private static let start = FamilyDescriptor(
        name: "muster_worker_start_time_seconds", type: .gauge, help: "Unix time of the worker process's start.",
        unit: .seconds)
    private static let heartbeat = FamilyDescriptor(
        name: "muster_worker_heartbeat_timestamp_seconds", type: .gauge,
        help: "Unix time of the worker's last known progress.",
        unit: .seconds)
    private static let starts = FamilyDescriptor(
        name: "muster_worker_starts_total", type: .counter, help: "Total number of processes started for the slot.")
    private static let backoff = FamilyDescriptor(
        name: "muster_worker_backoff_seconds", type: .gauge,
        help: "Delay before the slot's next process starts; 0 if none is pending.", unit: .seconds)
    private static let nextStart = FamilyDescriptor(
        name: "muster_worker_next_start_timestamp_seconds", type: .gauge,
        help: "Unix time when the slot's next process starts, while it is delayed.", unit: .seconds)
    private static let restarts = FamilyDescriptor(
        name: "muster_worker_restarts_total", type: .counter,
        help: "Total number of replaced processes of the slot, by reason of exit.")
    private static let spareExits = FamilyDescriptor(
        name: "muster_spare_exits_total", type: .counter,
        help: "Total number of exits of warm spares, which had no slot yet, by reason.")
    private static let scrapeSuccess = FamilyDescriptor(
        name: "muster_worker_scrape_success", type: .gauge,
        help: "1 if the slot's metrics could be read at this scrape, else 0.")
    private static let workers = FamilyDescriptor(
        name: "muster_workers", type: .gauge, help: "Number of processes of a launched service, by state.")
}
