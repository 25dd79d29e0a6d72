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
        case .spawn(let incarnation, let target): spawn(incarnation, target)
        case .promote(let incarnation, let worker): promote(incarnation, to: worker)
        case .stop(let incarnation):
            noteStop()
            _ = children[incarnation]?.process.send(SIGTERM)
        case .abort(let incarnation): abort(incarnation)
        case .kill(let incarnation):
            noteStop()
            children[incarnation]?.isKilled = true
            children[incarnation]?.process.killGroup()
        case .reset(let incarnation): _ = children[incarnation]?.channel.send(.reset)
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
            observer?.supervisor(self, records: notice)
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

    private func abort(_ incarnation: Int) {
        guard let child = children[incarnation] else { return }
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
        for (incarnation, child) in children {
            report.processes[incarnation] = SupervisorReport.Process(
                incarnation: incarnation, pid: child.process.pid, target: child.target, vitalSigns: child.vitalSigns,
                stoppedSince: child.stoppedSince, hungSince: child.hungSince,
                sampler: before[incarnation]?.sampler ?? LazySampler(pid: child.process.pid))
        }
        for (worker, slot) in slots {
            report.slots[worker] = SupervisorReport.Slot(cpuSeconds: slot.cpuSeconds, source: slot.source)
        }
        published.withLock { $0 = report }
    }
}

extension Supervisor {
    // MARK: What processes do

    func watch(_ child: WorkerChild) throws {
        let incarnation = child.incarnation
        child.pidWatch = try loop.watch(child.process.descriptor.rawValue, for: .readable) { [unowned self] _ in
            // What it has started and left behind ends with it. Its number is its own as long as it is not reaped.
            children[incarnation]?.process.killGroup()
            poll(incarnation)
        }
        child.channelWatch = try loop.watch(child.channel.descriptor.rawValue, for: .readable) { [unowned self] _ in
            listen(to: incarnation)
        }
    }

    func unwatch(_ child: WorkerChild) {
        if let watch = child.pidWatch.take() { loop.unwatch(watch) }
        if let watch = child.channelWatch.take() { loop.unwatch(watch) }
        if let look = child.look.take() { loop.cancel(look) }
        if let check = child.stopCheck.take() { loop.cancel(check) }
    }

    /// To be called when SIGCHLD has come: a process may have been stopped, or somebody else's has ended.
    package func childrenChanged() {
        for incarnation in children.keys.sorted() { poll(incarnation) }
        undertaken.removeAll { process in
            while let event = process.poll() { if case .exited = event { return true } }
            return false
        }
        guard getpid() == 1 else { return }
        let count = OrphanReaper.reap(except: Set((children.values.map(\.process) + undertaken).map(\.pid)))
        if count > 0 { orphansReaped?.increment(by: count) }
    }

    /// Takes up what has become of a process.
    private func poll(_ incarnation: Int) {
        while let child = children[incarnation], let event = child.process.poll() {
            switch event {
            case .exited(let exit): ended(child, exit)
            case .stopped: stopped(child)
            case .continued: continued(child)
            }
        }
    }

    private func ended(_ child: WorkerChild, _ exit: ChildExit) {
        // What it has said before it died counts.
        listen(to: child.incarnation)
        unwatch(child)
        children[child.incarnation] = nil
        let slot: SlotRecord? = if case .slot(let worker) = child.target { slot(worker) } else { nil }
        slot?.cpuSeconds += exit.cpuSeconds
        let wasKilledByKernel =
            exit.termination == .signaled(SIGKILL) && !child.isKilled && outOfMemory.claimKill() == true
        departed = child
        handle(.exited(child.incarnation, exit.termination, isOutOfMemory: wasKilledByKernel))
        departed = nil
        // Its successor is on the way by now: reading an arena takes longer than starting a process.
        slot?.source.processEnded(pid: child.process.pid)
    }

    private func listen(to incarnation: Int) {
        while let child = children[incarnation] {
            switch child.channel.receive() {
            case .message(let message): heard(message, from: child)
            case .nothing: return
            case .closed:
                if let watch = child.channelWatch.take() { loop.unwatch(watch) }
                return
            case .malformed(let problem):
                logger.warning(
                    "unknown control message",
                    metadata: ["worker": "\(name(of: child.target))", "problem": "\(problem)"])
            }
        }
    }

    private func heard(_ message: ControlMessage, from child: WorkerChild) {
        switch message {
        case .parked: handle(.parked(child.incarnation))
        case .ready:
            handle(.ready(child.incarnation))
            look(at: child)
        case .startFailed(let reason):
            child.failure = reason
            handle(.startFailed(child.incarnation))
        case .active: look(at: child, settling: true)
        case .stopping, .takeOver, .reset, .stop: break
        }
    }

    // MARK: Hangs

    /// Judges a worker by its signs of life, and looks again when the first of them could have stopped for too long.
    func look(at child: WorkerChild, settling: Bool = false) {
        if let scheduled = child.look.take() { loop.cancel(scheduled) }
        guard state.isJudged(child.incarnation) else { return }
        switch child.vitalSigns.watch(limit: livenessLimit, now: .now, settling: settling) {
        case .quiet: break
        case .hung(let hang):
            hung(child, reason: "\(hang)", canAbort: !child.isStopped)
        case .nextLook(let instant): scheduleLook(at: child, aligned(instant))
        }
    }

    private func scheduleLook(at child: WorkerChild, _ instant: MonotonicInstant, isPatient: Bool = true) {
        let incarnation = child.incarnation
        child.look = loop.schedule(at: instant) { [unowned self] in
            guard let child = children[incarnation] else { return }
            child.look = nil
            let lateness = instant.duration(to: .now)
            guard !isPatient || lateness <= livenessLimit / 4 else {
                // Whatever has held this process up, a frozen control group or a paused machine, has held the workers
                // up as well: they get the time to catch up.
                logger.notice(
                    "supervisor was delayed; postponing hang detection",
                    metadata: ["worker": "\(name(of: child.target))", "delay_seconds": lateness.secondsMetadata])
                return scheduleLook(at: child, .now.advanced(by: livenessLimit / 2))
            }
            look(at: child)
        }
    }

    /// Looks are made together: later than they could be by a twentieth of the limit at most.
    private func aligned(_ instant: MonotonicInstant) -> MonotonicInstant {
        let grid = max(1, livenessLimit.clampedNanoseconds / 20)
        let rest = instant.nanoseconds % grid
        return rest == 0 ? instant : MonotonicInstant(nanoseconds: instant.nanoseconds - rest + grid)
    }

    private func hung(_ child: WorkerChild, reason: String, canAbort: Bool) {
        if canAbort, !child.isCrashing, BacktraceWatch.isUnderWay(in: child.process.pid) {
            // It has crashed, and is no hang. SIGABRT would cut its backtraces off.
            child.isCrashing = true
            logger.notice(
                "worker crashed; waiting for its backtraces",
                metadata: ["worker": "\(name(of: child.target))", "pid": "\(child.process.pid)"])
            let grace = state.abortGrace(ofGroup: child.target.group)
            return scheduleLook(at: child, .now.advanced(by: grace), isPatient: false)
        }
        logger.error(
            "worker hung",
            metadata: [
                "worker": "\(name(of: child.target))", "pid": "\(child.process.pid)", "reason": "\(reason)",
                "limit_seconds": livenessLimit.secondsMetadata,
            ])
        child.hungSince = .now
        handle(.unresponsive(child.incarnation, canAbort: canAbort))
    }

    private func stopped(_ child: WorkerChild) {
        guard child.stoppedSince == nil else { return }
        child.stoppedSince = .now
        logger.warning(
            "worker suspended",
            metadata: ["worker": "\(name(of: child.target))", "pid": "\(child.process.pid)"])
        publish()
        let incarnation = child.incarnation
        child.stopCheck = loop.schedule(at: .now.advanced(by: livenessLimit)) { [unowned self] in
            guard let child = children[incarnation] else { return }
            child.stopCheck = nil
            guard child.isStopped, state.isJudged(child.incarnation) else { return }
            hung(child, reason: "suspended by a signal", canAbort: false)
        }
    }

    private func continued(_ child: WorkerChild) {
        child.stoppedSince = nil
        publish()
        if let check = child.stopCheck.take() { loop.cancel(check) }
        look(at: child)
    }
}

extension Supervisor {
    /// Starts a process for a slot, or as a warm spare.
    func spawn(_ incarnation: Int, _ target: SpawnTarget) {
        do {
            try start(incarnation, target)
            handle(.spawned(incarnation))
        } catch {
            logger.error(
                "cannot start worker process",
                metadata: ["worker": "\(name(of: target))", "error": "\(error)"])
            handle(.spawnFailed(incarnation))
        }
    }

    private func start(_ incarnation: Int, _ target: SpawnTarget) throws {
        let arena: OwnedDescriptor
        var ownArena: OwnedDescriptor?
        switch target {
        case .slot(let worker): arena = try arenaOfSlot(worker)
        case .spare:
            arena = try ArenaFile.create(name: "muster-metrics", capacity: plan.arenaCapacity)
            ownArena = arena
        }
        let vitalSigns = try VitalSignsReader.create(name: "muster-vital-signs")
        let (ours, theirs) = try ControlChannel.pair()
        let first = SpawnRequest.firstDescriptor
        let marker = WorkerMarker(
            group: target.group, name: state.groupName(target.group), slot: target.slot, incarnation: incarnation,
            supervisor: getpid(), controlInode: try theirs.inode, arena: first, arenaInode: try arena.inode,
            vitalSigns: first + 1, control: first + 2,
            sockets: plan.sockets.enumerated().map { index, socket in
                WorkerMarker.Socket(name: socket.name, descriptor: first + 3 + Int32(index))
            })
        var environment = plan.environment
        environment[WorkerMarker.variable] = marker.encoded
        var request = SpawnRequest(
            title: title(of: target), arguments: plan.arguments, environment: environment,
            descriptors: [arena.rawValue, vitalSigns.descriptor.rawValue, theirs.descriptor.rawValue]
                + plan.sockets.map(\.descriptor))
        request.executable = plan.executable
        // A spare is renamed when it gets a slot.
        if target.slot == nil { request.titleRoom = request.title.utf8.count + 8 }
        let process = try ChildProcess.spawn(request)
        let child = WorkerChild(
            incarnation: incarnation, process: process, channel: ours, vitalSigns: vitalSigns, ownArena: ownArena,
            target: target)
        children[incarnation] = child
        do {
            try watch(child)
        } catch {
            // Nobody would notice its end, so it must not begin.
            process.killGroup()
            unwatch(child)
            children[incarnation] = nil
            // It is dead, and reaped with the next news of a child.
            undertaken.append(process)
            throw error
        }
    }

    /// The slot's arena, replaced by an empty one when a worker has made it unusable.
    private func arenaOfSlot(_ worker: WorkerID) throws -> OwnedDescriptor {
        let slot = slot(worker)
        if let arena = slot.arena, !slot.source.needsFreshArena() { return arena }
        let fresh = try ArenaFile.create(name: "muster-metrics", capacity: plan.arenaCapacity)
        if slot.arena != nil {
            logger.warning(
                "metric arena damaged; creating a new one",
                metadata: ["worker": "\(name(of: .slot(worker)))"])
        }
        slot.source.use(arena: fresh)
        slot.arena = fresh
        return fresh
    }

    func slot(_ worker: WorkerID) -> SlotRecord {
        if let known = slots[worker] { return known }
        let source = SlotSource(
            constantLabels: [("worker", "\(worker.slot)"), ("worker_group", state.groupName(worker.group))],
            logger: logger)
        let slot = SlotRecord(source: source)
        slots[worker] = slot
        addSource?(source)
        return slot
    }

    /// Lets a warm spare take over a slot.
    func promote(_ incarnation: Int, to worker: WorkerID) {
        guard let child = children[incarnation] else { return }
        child.target = .slot(worker)
        // Should it be dead already, its end is on the way.
        _ = child.channel.send(.takeOver(slot: worker.slot))
        // Only now, with the spare under way: the totals of the slot's old arena move.
        guard let arena = child.ownArena else { return }
        let slot = slot(worker)
        slot.source.use(arena: arena)
        slot.arena = arena
    }

    /// What a process is called in the process list.
    private func title(of target: SpawnTarget) -> String {
        WorkerTitle.long(program: plan.program, worker: name(of: target))
    }

    /// What a process is called for people, for example `mailer/2`.
    func name(of target: SpawnTarget) -> String {
        "\(state.groupName(target.group))/\(target.slot.map { "\($0)" } ?? "spare")"
    }
}

/// What a slot keeps over the generations of its workers. Belongs to the supervisor's thread.
final class SlotRecord {
    let source: SlotSource
    var arena: OwnedDescriptor?
    /// CPU time of the processes that are gone, in seconds.
    var cpuSeconds = 0.0

    init(source: SlotSource) {
        self.source = source
    }
}

/// One process of the supervisor's. Belongs to the supervisor's thread.
final class WorkerChild {
    let incarnation: Int
    let process: ChildProcess
    let channel: ControlChannel
    let vitalSigns: VitalSignsReader
    /// The arena that a warm spare has brought along; nil for a process that got its slot's.
    let ownArena: OwnedDescriptor?
    var target: SpawnTarget
    var pidWatch: EventLoop.Watch?
    var channelWatch: EventLoop.Watch?
    var look: EventLoop.ScheduledAction?
    var stopCheck: EventLoop.ScheduledAction?
    /// Since when the system has kept it from running (SIGSTOP).
    var stoppedSince: MonotonicInstant?
    var isStopped: Bool { stoppedSince != nil }
    /// When it was found to be hung.
    var hungSince: MonotonicInstant?
    /// Whether it was found to be writing the backtraces of a crash.
    var isCrashing = false
    /// Whether we have sent SIGKILL, so that its death by that signal is no work of the kernel's.
    var isKilled = false
    /// What kept its services from starting, in its own words.
    var failure: String?

    init(
        incarnation: Int, process: ChildProcess, channel: ControlChannel, vitalSigns: VitalSignsReader,
        ownArena: OwnedDescriptor?, target: SpawnTarget
    ) {
        self.incarnation = incarnation
        self.process = process
        self.channel = channel
        self.vitalSigns = vitalSigns
        self.ownArena = ownArena
        self.target = target
    }
}

/// A process' sampler that is made when it is first asked: a process that nobody scrapes costs no descriptor.
package final class LazySampler: Sendable {
    private struct State {
        var sampler: ProcessSampler?
        var latest = ProcessStatistics()
    }

    private let pid: Int32
    private let state = Locked(State())

    init(pid: Int32) {
        self.pid = pid
    }

    /// Reads the process' figures. The CPU time of one that has just ended is its latest known, so that the total does
    /// not fall before the slot has taken the rest up.
    package func sample() -> ProcessStatistics {
        state.withLock { state in
            let sampler = state.sampler ?? ProcessSampler(pid: pid)
            state.sampler = sampler
            var statistics = sampler.sample()
            if let seconds = statistics.cpuSeconds {
                state.latest.cpuSeconds = max(seconds, state.latest.cpuSeconds ?? 0)
            }
            statistics.cpuSeconds = state.latest.cpuSeconds
            return statistics
        }
    }
}

extension OwnedDescriptor {
    /// The number by which the kernel knows the file; no other of its kind has it while this one is open.
    var inode: UInt64 {
        get throws(SystemError) {
            var status = stat()
            guard fstat(rawValue, &status) == 0 else { throw SystemError("fstat") }
            return UInt64(status.st_ino)
        }
    }
}
