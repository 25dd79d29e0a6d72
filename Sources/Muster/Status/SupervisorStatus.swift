// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterEndpoint
import MusterMetrics
import MusterPlatform
import MusterSupervision

/// How a supervisor and its workers are doing. It reads what they have left in memory and asks the kernel, so a worker
/// that hangs is shown as quickly as one that does not.
final class SupervisorStatus: StatusSource {
    private let launched: LaunchedServices
    private let supervisor = Locked<Supervisor?>(nil)
    private let sampler = ProcessSampler()

    init(launched: LaunchedServices) {
        self.launched = launched
    }

    func show(_ supervisor: Supervisor) {
        self.supervisor.withLock { $0 = supervisor }
    }

    func look() -> StatusLook {
        let report = supervisor.withLock { $0 }?.report
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
                worker.take(slot, slot.birth.flatMap { report.processes[$0] }, report.slots[slot.worker], now)
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
