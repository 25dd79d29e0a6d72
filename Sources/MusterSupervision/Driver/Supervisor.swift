// SPDX-License-Identifier: Apache-2.0

import Glibc
package import Logging
package import MusterMetrics
package import MusterPlatform

/// Owns the worker processes: carries out what ``SupervisorState`` decides and tells it what happens.
///
/// It sleeps until something happens: a process ends (its pidfd), speaks (its control channel), is stopped (SIGCHLD),
/// or a deadline is due. It runs no user code and holds no request. What workers share with it, arenas and vital
/// signs, it reads and never believes.
///
/// Sound as `@unchecked Sendable`: everything but what is locked belongs to the thread that runs `loop`; the methods
/// check that. That thread must live as long as the process, because a worker dies with the thread that spawned it.
package final class Supervisor: @unchecked Sendable {
    /// The loop whose thread it belongs to.
    package let loop: EventLoop
    let plan: SupervisorPlan
    let logger: Logger
    let orphansReaped: CounterMetric?
    weak var observer: (any SupervisorObserver)?

    var state: SupervisorState
    var livenessLimit: Duration
    var children: [Int: WorkerChild] = [:]
    /// The child whose end is being taken in, for those who tell of it.
    var departed: WorkerChild?
    var slots: [WorkerID: SlotRecord] = [:]
    var outOfMemory = OutOfMemoryCounter()
    /// Processes that nobody wants any more and that are still to be reaped.
    var undertaken: [ChildProcess] = []
    private var timers: [SupervisorTimer: EventLoop.ScheduledAction] = [:]
    private var events: [SupervisorEvent] = []
    private var actions: [SupervisorAction] = []
    private var notices: [SupervisorNotice] = []
    private var isHandling = false
    private var hasStoppedWorkers = false
    private var hasFinished = false
    private let published: Locked<SupervisorReport>
    private let sources = Locked<[SlotSource]>([])
    /// Called, on the supervisor's thread, with the series of each slot that comes up.
    var addSource: (@Sendable (SlotSource) -> Void)?

    /// Creates a supervisor of nothing yet.
    ///
    /// - Parameters:
    ///   - plan: What to run.
    ///   - loop: The loop it belongs to.
    ///   - registry: Where it counts the orphans that it reaps.
    ///   - logger: Where it logs.
    ///   - addSource: Called with the series of each slot that comes up.
    package init(
        plan: SupervisorPlan, loop: EventLoop, registry: MetricRegistry?, logger: Logger,
        addSource: @escaping @Sendable (SlotSource) -> Void
    ) {
        self.plan = plan
        self.loop = loop
        self.logger = logger
        self.addSource = addSource
        orphansReaped = try? registry?.counter(
            "muster_orphans_reaped_total",
            help: "Processes that were nobody's any more and were reaped by the supervisor as PID 1.")
        livenessLimit = plan.livenessLimit
        let state = SupervisorState(plan.configuration)
        self.state = state
        published = Locked(SupervisorReport(snapshot: state.snapshot(at: .now), livenessLimit: plan.livenessLimit))
    }

    /// Who hears what happens.
    package func setObserver(_ observer: any SupervisorObserver) {
        self.observer = observer
    }

    /// The picture at present; to be asked by any thread.
    package var report: SupervisorReport { published.withLock { $0 } }

    /// Whether every slot that wants a process has one that is ready. On the supervisor's thread.
    package var isEveryWorkerReady: Bool { state.isEveryWorkerReady }

    /// For how long the supervisor has been at one thing.
    package var busyTime: Duration { loop.busyTime() }

    // MARK: Events in, actions out

    /// Tells the state machine what has happened and does what it says. On the supervisor's thread.
    package func handle(_ event: SupervisorEvent) {
        precondition(loop.isCurrent, "the supervisor was called on another thread")
        events.append(event)
        guard !isHandling else { return }
        isHandling = true
        while !events.isEmpty {
            let next = events.removeFirst()
            state.handle(next, at: .now, into: &actions)
            for action in actions { perform(action) }
            actions.removeAll(keepingCapacity: true)
        }
        isHandling = false
        tell()
        publish()
        observer?.supervisorDidChange(self)
    }

    /// Takes up a new limit for hangs.
    package func setLivenessLimit(_ limit: Duration) {
        livenessLimit = limit
        for child in children.values { look(at: child) }
    }

    private func perform(_ action: SupervisorAction) {
        switch action {
        case .spawn(let birth, let target): spawn(birth, target)
        case .promote(let birth, let worker): promote(birth, to: worker)
        case .stop(let birth):
            noteStop()
            _ = children[birth]?.process.send(SIGTERM)
        case .abort(let birth): abort(birth)
        case .kill(let birth):
            noteStop()
            children[birth]?.isKilled = true
            children[birth]?.process.killGroup()
        case .reset(let birth): _ = children[birth]?.channel.send(.reset)
        case .arm(let timer, let instant): arm(timer, at: instant)
        case .disarm(let timer): disarm(timer)
        // Told when everything is done: a log line takes longer than waking a warm spare.
        case .notice(let notice): notices.append(notice)
        case .finish(let status): finish(status)
        }
    }

    private func tell() {
        let told = notices
        notices.removeAll(keepingCapacity: true)
        for notice in told {
            log(notice)
            observer?.supervisor(self, notes: notice)
        }
    }

    private func arm(_ timer: SupervisorTimer, at instant: MonotonicInstant) {
        disarm(timer)
        timers[timer] = loop.schedule(at: instant) { [unowned self] in
            timers[timer] = nil
            handle(.timer(timer))
        }
    }

    private func disarm(_ timer: SupervisorTimer) {
        if let armed = timers.removeValue(forKey: timer) { loop.cancel(armed) }
    }

    /// The first worker that is stopped for the end of everything closes the doors.
    private func noteStop() {
        guard !hasStoppedWorkers, state.isStoppingWorkers else { return }
        hasStoppedWorkers = true
        observer?.supervisorStopsWorkers(self)
    }

    private func abort(_ birth: Int) {
        guard let child = children[birth] else { return }
        _ = child.process.send(SIGABRT)
    }

    private func finish(_ status: Int32) {
        guard !hasFinished else { return }
        hasFinished = true
        tell()
        for timer in timers.values { loop.cancel(timer) }
        timers = [:]
        publish()
        observer?.supervisor(self, finishedWith: status)
    }

    func publish() {
        var report = SupervisorReport(snapshot: state.snapshot(at: .now), livenessLimit: livenessLimit)
        let before = published.withLock { $0.processes }
        for (birth, child) in children {
            report.processes[birth] = SupervisorReport.Process(
                birth: birth, pid: child.process.pid, target: child.target, vitalSigns: child.vitalSigns,
                stoppedSince: child.stoppedSince, hungSince: child.hungSince,
                sampler: before[birth]?.sampler ?? LazySampler(pid: child.process.pid))
        }
        for (worker, slot) in slots {
            report.slots[worker] = SupervisorReport.Slot(cpuSeconds: slot.cpuSeconds, source: slot.source)
        }
        published.withLock { $0 = report }
    }
}
