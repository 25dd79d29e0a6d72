// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterEndpoint
import MusterExecution
import MusterMetrics
import MusterPlatform

/// How a program is doing that runs everything in one process: the process is the worker 0.
final class SingleProcessStatus: StatusSource {
    private let name: String
    private let backend: Backend
    private let reader: ArenaReader
    private let sampler: ProcessSampler
    private let liveness: Duration
    /// What the launcher's services are doing; they run where nothing else is known.
    private let state = Locked<(@Sendable () -> WorkerState)?>(nil)

    init(name: String, backend: Backend, reader: ArenaReader, sampler: ProcessSampler, liveness: Duration) {
        self.name = name
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
        var worker = WorkerStatus(group: name, slot: 0, state: isHung ? .hung : state)
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
            || !backend.loops.overdue(by: liveness, at: backend.engine.clock.now).isEmpty
    }
}
