// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
package import Logging
import MusterLock
package import MusterMetrics
package import MusterPlatform

/// Owns the worker processes: sends events to ``SupervisorState`` and performs its actions.
///
/// It sleeps until a process exits (pidfd), sends a message (control channel) or is stopped (SIGCHLD), or a timer is due.
/// It runs no user code and holds no request. The memory that workers share with it, arenas and vital signs, is read
/// without trust.
///
/// Sound as `@unchecked Sendable`: everything but what is locked belongs to the thread that runs `loop`; the methods
/// check that. That thread must live as long as the process, because a worker dies with the thread that spawned it.
package final class Supervisor: @unchecked Sendable {
    /// The loop whose thread it belongs to.
    package let loop: EventLoop
    private let plan: SupervisorPlan
    private let logger: Logger
    private let orphansReaped: CounterMetric?
    private weak var observer: (any SupervisorObserver)?

    private var state: SupervisorState
    private var livenessLimit: Duration
    private var settings: WorkerSettings?
    private var children: [Int: WorkerChild] = [:]
    /// The child whose exit is being handled, for log messages.
    private var exiting: WorkerChild?
    private var slots: [WorkerID: SlotRecord] = [:]
    private var outOfMemory = OutOfMemoryCounter()
    /// Killed processes without a watch that are still to be reaped.
    private var abandoned: [ChildProcess] = []
    private var forkServer: ForkServer?
    private var bells: Bells?
    private var leases = TaskLeases()
    private var timers: [SupervisorTimer: EventLoop.ScheduledAction] = [:]
    private var events: [SupervisorEvent] = []
    private var actions: [SupervisorAction] = []
    private var notices: [SupervisorNotice] = []
    /// The processes that could not be started because of the present event, by error.
    private var unstarted: [(error: String, targets: [SpawnTarget])] = []
    private var memoryCheck: EventLoop.ScheduledAction?
    private var isHandling = false
    private var hasStoppedWorkers = false
    private var hasFinished = false
    private let published: Locked<SupervisorReport>
    private let addSource: @Sendable (SlotSource) -> Void

    /// - Parameter addSource: Called, on the supervisor's thread, with the series of each new slot.
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
            help: "Orphaned processes reaped while running as PID 1.")
        livenessLimit = plan.livenessLimit
        settings = plan.settings
        let state = SupervisorState(plan.configuration)
        self.state = state
        published = Locked(SupervisorReport(snapshot: state.snapshot(at: .now), livenessLimit: plan.livenessLimit))
    }

    package func setObserver(_ observer: any SupervisorObserver) {
        self.observer = observer
    }

    /// The present state, for any thread.
    package var report: SupervisorReport { published.withLock { $0 } }

    /// Whether every slot that wants a process has a ready one. On the supervisor's thread.
    package var isEveryWorkerReady: Bool { state.isEveryWorkerReady }

    /// The name of a launched service. To be called on the supervisor's thread.
    package func groupName(_ group: Int) -> String { state.groupName(group) }

    /// How long the supervisor's thread has been busy.
    package var busyTime: Duration { loop.busyTime() }

    // MARK: Events in, actions out

    /// Sends an event to the state machine and performs its actions. On the supervisor's thread.
    package func handle(_ event: SupervisorEvent) {
        precondition(loop.isCurrent, "the supervisor was called on another thread")
        if event == .begin {
            // Whoever dies is replaced also when the workers keep all processors busy.
            cmuster_ask_for_slices(UInt64(CMUSTER_SHORT_SLICE))
            startForkServer()
            if plan.restartsEarly { bells = makeBells() }
        }
        events.append(event)
        handleEvents()
    }

    private func handleEvents() {
        guard !isHandling else { return }
        isHandling = true
        if let claims = bells?.withdraw(), !claims.isEmpty {
            // They came first.
            events.insert(contentsOf: claims.map { .claimed($0.incarnation, by: $0.heir) }, at: 0)
        }
        while !events.isEmpty {
            let next = events.removeFirst()
            state.handle(next, at: .now, into: &actions)
            for action in actions { perform(action) }
            actions.removeAll(keepingCapacity: true)
        }
        isHandling = false
        if hasStoppedWorkers { replaceNoMore() }
        bells?.offer(
            state.heirs.compactMapValues { incarnation in
                children[incarnation].map { Heir(incarnation: incarnation, channel: $0.channel) }
            })
        scheduleMemoryCheck()
        // Before the log: whoever reads there that a shutdown has begun finds it in the probes.
        publish()
        sendNotices()
        observer?.supervisorDidChange(self)
    }

    /// Takes other settings for workers from now on, and another limit for all at once.
    package func take(_ settings: WorkerSettings?, livenessLimit limit: Duration) {
        self.settings = settings
        livenessLimit = limit
        for child in children.values { inspect(child) }
    }

    /// Sends a worker a console's request, with the connection over which it answers. On the supervisor's thread.
    package func send(_ request: String, answeredOver connection: OwnedDescriptor, to incarnation: Int) {
        children[incarnation]?.channel.send(.consoleRequest(request), with: connection)
    }

    /// Tells all workers which log levels an operator has chosen. On the supervisor's thread.
    package func sendLogLevels() {
        let rules = LogLevels.shared.encoded
        for child in children.values { child.channel.send(.logLevels(rules)) }
    }

    private func perform(_ action: SupervisorAction) {
        switch action {
        case .spawn(let incarnation, let target): spawn(incarnation, target)
        case .promote(let incarnation, let worker):
            // If it is dead already, its exit is about to be handled.
            children[incarnation]?.channel.send(.takeOver(slot: worker.slot))
            promoted(incarnation, to: worker)
        case .promoted(let incarnation, let worker): promoted(incarnation, to: worker)
        case .stop(let incarnation):
            recordStop()
            bells?.withhold(incarnation)
            if let child = children[incarnation] { stop(child) }
        case .abort(let incarnation):
            // A suspended process runs no handler.
            guard let child = children[incarnation], !child.isStopped else { return kill(incarnation) }
            leases.leave(incarnation, of: child.target.group)
            child.isAborted = true
            bells?.withhold(incarnation)
            child.process.send(SIGABRT)
        case .kill(let incarnation):
            recordStop()
            kill(incarnation)
        case .finishOff(let incarnation): children[incarnation]?.process.killGroup()
        case .reset(let incarnation): children[incarnation]?.channel.send(.reset(settings))
        case .arm(let timer, let instant): arm(timer, at: instant)
        case .disarm(let timer): disarm(timer)
        // Logged at the end: a log line takes longer than waking a warm spare.
        case .notice(let notice):
            if notice == .reloadBegan { forkServer?.handle(.outdated) }
            notices.append(notice)
        case .finish(let status): finish(status)
        }
    }

    private func stop(_ child: WorkerChild) {
        leases.leave(child.incarnation, of: child.target.group)
        child.channel.send(.stop(until: state.timers[.kill(child.incarnation)]))
        child.process.send(SIGTERM)
        // Or it would be handled when somebody continues the process.
        child.process.send(SIGCONT)
        // A crash that began before will not be over because of it.
        if child.crashSince != nil { checkCrash(of: child) } else { expectWord(of: child) }
    }

    private func kill(_ incarnation: Int) {
        guard let child = children[incarnation] else { return }
        child.isKilled = true
        bells?.withhold(incarnation)
        child.process.killGroup()
    }

    private func sendNotices() {
        logUnstarted()
        let pending = notices
        notices.removeAll(keepingCapacity: true)
        for notice in pending {
            log(notice)
            observer?.supervisor(self, records: notice)
        }
    }

    private func arm(_ timer: SupervisorTimer, at instant: MonotonicInstant) {
        disarm(timer)
        timers[timer] = loop.schedule(at: instant) { [unowned self] in
            timers[timer] = nil
            if case .startup(let incarnation) = timer, let child = children[incarnation],
                isLate(instant, for: child.target)
            {
                return arm(timer, at: .now.advanced(by: delayGrace))
            }
            handle(.timer(timer))
        }
    }

    private func disarm(_ timer: SupervisorTimer) {
        if let armed = timers.removeValue(forKey: timer) { loop.cancel(armed) }
    }

    /// The first stop of a shutdown closes the listening sockets.
    private func recordStop() {
        guard !hasStoppedWorkers, state.isStoppingWorkers else { return }
        hasStoppedWorkers = true
        observer?.supervisorStopsWorkers(self)
    }

    /// After the workers have been told to stop, so that the end of the fork server does not hold them up.
    private func replaceNoMore() {
        forkServer?.handle(.stop)
        bells = nil
    }

    private func finish(_ status: Int32) {
        guard !hasFinished else { return }
        hasFinished = true
        replaceNoMore()
        for timer in timers.values { loop.cancel(timer) }
        timers = [:]
        if let check = memoryCheck.take() { loop.cancel(check) }
        publish()
        sendNotices()
        observer?.supervisor(self, finishedWith: status)
    }

    /// Only what has changed is written anew: there may be hundreds of workers, and an event concerns one of them.
    private func publish() {
        let snapshot = state.snapshot(at: .now)
        published.withLock { report in
            report.snapshot = snapshot
            report.livenessLimit = livenessLimit
            for (incarnation, child) in children where !child.isPublished {
                child.isPublished = true
                report.processes[incarnation] = SupervisorReport.Process(
                    incarnation: incarnation, pid: child.process.pid, target: child.target,
                    vitalSigns: child.vitalSigns, stoppedSince: child.stoppedSince, hungSince: child.hungSince,
                    sampler: report.processes[incarnation]?.sampler ?? LazySampler(pid: child.process.pid))
            }
            if report.processes.count > children.count {
                report.processes = report.processes.filter { children[$0.key] != nil }
            }
            for (worker, slot) in slots where !slot.isPublished {
                slot.isPublished = true
                report.slots[worker] = SupervisorReport.Slot(cpuSeconds: slot.cpuSeconds, source: slot.source)
            }
        }
    }
}

extension Supervisor {
    // MARK: Events of processes

    private func watch(_ child: WorkerChild) throws {
        let incarnation = child.incarnation
        // Without a descriptor, SIGCHLD alone tells of its end.
        if let descriptor = child.process.descriptor {
            child.pidWatch = try loop.watch(descriptor.rawValue, for: .readable) { [unowned self] _ in
                poll(incarnation)
            }
        }
        child.channelWatch = try loop.watch(child.channel.descriptor.rawValue, for: .readable) { [unowned self] _ in
            receiveMessages(of: incarnation, atMost: Self.messagesPerTurn)
        }
    }

    private func unwatch(_ child: WorkerChild) {
        if let watch = child.pidWatch.take() { loop.unwatch(watch) }
        if let watch = child.channelWatch.take() { loop.unwatch(watch) }
        if let (inspection, _) = child.inspection.take() { loop.cancel(inspection) }
        if let check = child.stopCheck.take() { loop.cancel(check) }
        if let check = child.crashCheck.take() { loop.cancel(check) }
    }

    /// To be called at SIGCHLD: a process may have been stopped, or an orphan has exited.
    package func childrenChanged() {
        // Most often one child has ended, which its descriptor tells: asking every other one would take the longer the more
        // there are.
        let mayConcernAll = ChildProcess.isAnyStoppedOrContinued
        for (incarnation, child) in children.sorted(by: { $0.key < $1.key })
        where mayConcernAll || child.process.descriptor == nil {
            poll(incarnation)
        }
        abandoned.removeAll { process in
            while let event = process.poll() { if case .exited = event { return true } }
            return false
        }
        forkServer?.poll()
        guard getpid() == 1 else { return }
        let own = (children.values.map(\.process) + abandoned).map(\.pid) + (forkServer?.pids ?? [])
        let count = OrphanReaper.reap(except: Set(own))
        if count > 0 { orphansReaped?.increment(by: count) }
    }

    private func poll(_ incarnation: Int) {
        while let child = children[incarnation], let event = child.process.poll() {
            switch event {
            case .exited(let exit): ended(child, exit)
            case .stopped(let signal): stopped(child, by: signal)
            case .continued: continued(child)
            }
        }
    }

    private func makeBells() -> Bells {
        Bells { [weak self] incarnation, isClaimed in
            guard let supervisor = self else { return }
            supervisor.loop.submit { supervisor.rang(incarnation, isClaimed: isClaimed) }
        }
    }

    private func rang(_ incarnation: Int, isClaimed: Bool) {
        // A crash may be the last that it has told.
        receiveMessages(of: incarnation)
        // A crashed worker is waited for, unless a spare was there: its replacement gets another address layout.
        guard let child = children[incarnation], isClaimed || child.crashSince == nil else { return }
        handle(.dying(incarnation))
    }

    private func ended(_ child: WorkerChild, _ exit: ChildExit) {
        bells?.forget(child.incarnation)
        // Messages that it sent before it died count.
        receiveMessages(of: child.incarnation)
        showArena(of: child)
        unwatch(child)
        children[child.incarnation] = nil
        if let next = leases.end(child.incarnation, of: child.target.group).flatMap({ children[$0] }) {
            giveLease(to: next)
        }
        let slot: SlotRecord? = if case .slot(let worker) = child.target { slot(worker) } else { nil }
        slot?.cpuSeconds += exit.cpuSeconds
        if child.isForked, exit.termination.isCrash { forkServer?.handle(.crashed) }
        let wasKilledByKernel =
            exit.termination == .signaled(SIGKILL) && !child.isKilled && outOfMemory.claimKill() == true
        exiting = child
        handle(.exited(child.incarnation, exit.termination, isOutOfMemory: wasKilledByKernel))
        exiting = nil
        slot?.source.processEnded(pid: child.process.pid)
    }

    /// A worker that sends without end must not keep the supervisor from its other work.
    private static let messagesPerTurn = 64

    private func receiveMessages(of incarnation: Int, atMost limit: Int = .max) {
        var count = 0
        while let child = children[incarnation] {
            guard count < limit else {
                return loop.submit { [unowned self] in receiveMessages(of: incarnation, atMost: limit) }
            }
            count += 1
            switch child.channel.receive() {
            case .message(let message): handle(message, from: child)
            case .request: continue
            case .nothing: return
            case .closed: return channelClosed(child)
            case .malformed(let problem):
                guard let suppressed = child.malformedMessages.admit(at: .now) else { continue }
                var details: Logger.Metadata = [
                    "worker": "\(name(of: child.target))", "problem": "\(problem)",
                ]
                if suppressed > 0 { details["suppressed"] = "\(suppressed)" }
                logger.warning("unknown control message", metadata: details)
            }
        }
    }

    /// How long a process may take from closing its descriptors to its end.
    private static let exitTime = Duration.seconds(1)

    /// A process closes its end when it exits. One that lives on without it could hang unnoticed.
    private func channelClosed(_ child: WorkerChild) {
        guard let watch = child.channelWatch.take() else { return }
        loop.unwatch(watch)
        let incarnation = child.incarnation
        loop.schedule(at: .now.advanced(by: Self.exitTime)) { [unowned self] in
            guard let child = children[incarnation], state.isServing(incarnation) else { return }
            hung(child, reason: "control channel closed by the worker", canAbort: !child.isStopped)
        }
    }

    private func handle(_ message: ControlMessage, from child: WorkerChild) {
        child.hasSpoken = true
        // It may have taken a slot over.
        if child.target.slot == nil { handleEvents() }
        switch message {
        case .parked: handle(.parked(child.incarnation))
        case .ready:
            showArena(of: child)
            handle(.ready(child.incarnation))
            inspect(child)
            bells?.listen(
                for: child.incarnation, of: child.vitalSigns, claimable: state.claimableSlot(of: child.incarnation))
        case .startFailed(let reason):
            child.failure = reason
            handle(.startFailed(child.incarnation))
        case .hasReset(let succeeded): handle(.hasReset(child.incarnation, succeeded: succeeded))
        case .crashing: crashed(child)
        case .active: inspect(child, settling: true)
        case .recycle(let reason): handle(.recycle(child.incarnation, .requested(reason)))
        case .seekLease:
            guard state.isServing(child.incarnation) else { break }
            if leases.seek(child.incarnation, of: child.target.group) { giveLease(to: child) }
        case .taskRun(let state, let task):
            leases.record(
                state, of: task, by: child.incarnation, of: child.target.group,
                at: Int64(WallClock.secondsSinceEpoch * 1e9))
        case .takeOver, .reset, .stop, .logLevels, .lease, .consoleRequest: break
        }
    }

    private func giveLease(to child: WorkerChild) {
        child.channel.send(.lease(leases.encoded(child.target.group)))
    }

    // MARK: Hangs

    /// Checks a worker's vital signs, and schedules the next check for when the first of them could be overdue.
    ///
    /// - Parameters:
    ///   - settling: Whether the worker has just told that it is active.
    ///   - isDue: Whether this is the check that was scheduled, in time. Only that finds a worker hung: what looks like it
    ///     before has waited for the supervisor, which was kept from running, and the worker maybe with it.
    private func inspect(_ child: WorkerChild, settling: Bool = false, isDue: Bool = false) {
        // The one that was scheduled is about to run, and sees whether it is late.
        if !isDue, let (_, instant) = child.inspection, instant <= .now { return }
        if let (scheduled, _) = child.inspection.take() { loop.cancel(scheduled) }
        // Of a suspended worker, only the suspension is judged.
        guard state.isJudged(child.incarnation), !child.isStopped else { return }
        if let end = child.graceEnd, MonotonicInstant.now < end { return scheduleInspection(of: child, end) }
        switch child.vitalSigns.watch(limit: livenessLimit, now: .now, settling: settling) {
        case .quiet: break
        case .hung(let hang):
            guard isDue else { return giveGrace(child) }
            hung(child, reason: "\(hang)", canAbort: true)
        case .nextLook(let instant): scheduleInspection(of: child, aligned(instant))
        }
    }

    /// Time for a process that the system has kept from running to catch up.
    private func giveGrace(_ child: WorkerChild) {
        guard livenessLimit > .zero else { return }
        let end = MonotonicInstant.now.advanced(by: delayGrace)
        child.graceEnd = end
        scheduleInspection(of: child, end)
    }

    private func scheduleInspection(of child: WorkerChild, _ instant: MonotonicInstant) {
        let incarnation = child.incarnation
        if let (scheduled, _) = child.inspection.take() { loop.cancel(scheduled) }
        let scheduled = loop.schedule(at: instant) { [unowned self] in
            guard let child = children[incarnation] else { return }
            child.inspection = nil
            if isLate(instant, for: child.target) { giveGrace(child) } else { inspect(child, isDue: true) }
        }
        child.inspection = (scheduled, instant)
    }

    /// How long a process gets in addition.
    private var delayGrace: Duration { livenessLimit > .zero ? livenessLimit / 2 : .seconds(5) }

    /// Whether the supervisor was kept from running at this instant. The cause, a frozen control group or a paused machine,
    /// has delayed the workers as well.
    private func isLate(_ instant: MonotonicInstant, for target: SpawnTarget) -> Bool {
        let lateness = instant.duration(to: .now)
        guard lateness > delayGrace / 2 else { return false }
        logger.notice(
            "supervisor was delayed; postponing hang detection",
            metadata: ["worker": "\(name(of: target))", "delay_seconds": lateness.secondsMetadata])
        return true
    }

    /// Inspections happen together, each at most a twentieth of the limit late.
    private func aligned(_ instant: MonotonicInstant) -> MonotonicInstant {
        instant.roundedUp(toMultipleOf: livenessLimit.clampedNanoseconds / 20)
    }

    private func hung(_ child: WorkerChild, reason: String, canAbort: Bool) {
        let pid = child.process.pid
        // SIGABRT would cut a crash's backtraces off; that has a deadline of its own. It may not have been able to tell.
        if canAbort, child.crashSince == nil, ProcessInspection.isWritingBacktraces(pid) { crashed(child) }
        guard child.crashSince == nil else { return }
        var details: Logger.Metadata = [
            "worker": "\(name(of: child.target))", "pid": "\(pid)", "reason": "\(reason)",
            "limit_seconds": livenessLimit.secondsMetadata,
        ]
        if let stream = ProcessInspection.blockedStream(pid) {
            details["waits_for"] = "a reader of its \(stream)"
        }
        logger.error("worker hung", metadata: details)
        child.hungSince = .now
        handle(.unresponsive(child.incarnation, canAbort: canAbort))
    }

    // MARK: Crashes

    /// How soon the first look at a crash follows; the later ones are rarer.
    private static let firstCrashCheck = Duration.seconds(1)

    /// A process writes the backtraces of a crash, in whatever state it is, for which it has the abort grace.
    private func crashed(_ child: WorkerChild) {
        guard child.crashSince == nil, !child.isAborted, !child.isKilled else { return }
        child.crashSince = .now
        logger.notice(
            "worker crashed; waiting for its backtraces",
            metadata: ["worker": "\(name(of: child.target))", "pid": "\(child.process.pid)"])
        scheduleCrashCheck(of: child, after: Self.firstCrashCheck)
    }

    /// A process that has not said anything yet may have crashed before it could tell.
    private func expectWord(of child: WorkerChild) {
        if !child.hasSpoken { scheduleCrashCheck(of: child, after: Self.firstCrashCheck) }
    }

    private func scheduleCrashCheck(of child: WorkerChild, after interval: Duration) {
        let incarnation = child.incarnation
        var instant = MonotonicInstant.now.advanced(by: interval)
        if let since = child.crashSince {
            instant = max(.now, min(instant, since.advanced(by: state.abortGrace(ofGroup: child.target.group))))
        }
        if let check = child.crashCheck.take() { loop.cancel(check) }
        child.crashCheck = loop.schedule(at: instant) { [unowned self] in
            guard let child = children[incarnation] else { return }
            child.crashCheck = nil
            checkCrash(of: child, next: interval * 2)
        }
    }

    /// A crash that takes too long, or whose main thread is dead, will not end by itself.
    private func checkCrash(of child: WorkerChild, next interval: Duration = firstCrashCheck) {
        let pid = child.process.pid
        let isDead = ProcessInspection.isMainThreadDead(pid)
        guard let since = child.crashSince else {
            if child.hasSpoken { return }
            if isDead || ProcessInspection.isWritingBacktraces(pid) { return crashed(child) }
            return scheduleCrashCheck(of: child, after: interval)
        }
        guard isDead || since.duration(to: .now) >= state.abortGrace(ofGroup: child.target.group) else {
            return scheduleCrashCheck(of: child, after: interval)
        }
        logger.error(
            "worker did not end after a crash; killing it",
            metadata: [
                "worker": "\(name(of: child.target))", "pid": "\(pid)",
                "reason": isDead ? "main thread has ended" : "backtraces take too long",
            ])
        if state.isServing(child.incarnation) { child.hungSince = .now }
        handle(.unresponsive(child.incarnation, canAbort: false))
    }

    private func stopped(_ child: WorkerChild, by signal: Int32) {
        guard child.stoppedSince == nil else { return }
        child.stoppedSince = .now
        if let suppressed = child.suspensions.admit(at: .now) {
            var details: Logger.Metadata = [
                "worker": "\(name(of: child.target))", "pid": "\(child.process.pid)",
                "signal": "\(UnixSignal(rawValue: signal))",
            ]
            if suppressed > 0 { details["suppressed"] = "\(suppressed)" }
            logger.warning("worker suspended", metadata: details)
        }
        publish()
        // It may have been asked to stop before.
        if state.isEnding(child.incarnation) { child.process.send(SIGCONT) }
        scheduleStopCheck(of: child, after: livenessLimit)
    }

    private func scheduleStopCheck(of child: WorkerChild, after interval: Duration) {
        let incarnation = child.incarnation
        let instant = MonotonicInstant.now.advanced(by: interval)
        child.stopCheck = loop.schedule(at: instant) { [unowned self] in
            guard let child = children[incarnation] else { return }
            child.stopCheck = nil
            guard child.isStopped, state.isJudged(child.incarnation) else { return }
            // The supervisor may have been suspended with it, and be the first to continue.
            if isLate(instant, for: child.target) { return scheduleStopCheck(of: child, after: delayGrace) }
            hung(child, reason: "suspended by a signal", canAbort: false)
        }
    }

    private func continued(_ child: WorkerChild) {
        child.stoppedSince = nil
        publish()
        if let check = child.stopCheck.take() { loop.cancel(check) }
        giveGrace(child)
    }
}

extension Supervisor {
    // MARK: Memory

    /// How often the workers' memory is read where it has a limit: the only thing that is looked at again and again, for
    /// nothing tells when a process grows.
    private static let memoryInterval = Duration.seconds(5)

    private func scheduleMemoryCheck() {
        guard memoryCheck == nil, let interval = state.memoryInterval(atMost: Self.memoryInterval) else { return }
        memoryCheck = loop.schedule(at: .now.advanced(by: interval)) { [unowned self] in
            memoryCheck = nil
            checkMemory()
            scheduleMemoryCheck()
        }
    }

    private func checkMemory() {
        for (incarnation, child) in children.sorted(by: { $0.key < $1.key }) where state.isJudged(incarnation) {
            guard let bytes = ProcessSampler.anonymousMemory(of: child.process.pid),
                state.exceedsMemory(incarnation, bytes: bytes)
            else { continue }
            handle(.recycle(incarnation, .memory(bytes)))
        }
    }
}

/// Lets a message that a worker can provoke into the log now and then.
private struct LogLimit {
    private static let interval = Duration.seconds(10)
    private var latest: MonotonicInstant?
    private var suppressed = 0

    /// Returns how many were suppressed since the last one; `nil` when this one is suppressed, too.
    mutating func admit(at now: MonotonicInstant) -> Int? {
        if let latest, latest.duration(to: now) < Self.interval {
            suppressed += 1
            return nil
        }
        latest = now
        defer { suppressed = 0 }
        return suppressed
    }
}

extension Supervisor {
    private func startForkServer() {
        guard plan.startMethod == .forkServer, plan.executable == SpawnRequest.ownExecutable, forkServer == nil else {
            return
        }
        if let obstacle = ForkServer.obstacle {
            return logger.debug("workers cannot be forked; spawning them", metadata: ["reason": "\(obstacle)"])
        }
        var request = SpawnRequest(
            title: WorkerTitle.long(program: plan.program, worker: "fork-server"), arguments: plan.arguments,
            environment: plan.environment,
            descriptors: [Int32](repeating: 0, count: Self.ownDescriptors + plan.sockets.count))
        // Workers get their titles into the same room.
        request.titleRoom = plan.configuration.groups.indices.map { title(of: .spare(group: $0)).utf8.count }.max() ?? 0
        // The settings may grow with a reload. What does not fit is spawned.
        let room = 4096 + 2 * (settings?.encoded.utf8.count ?? 0)
        forkServer = ForkServer(request: request, markerRoom: room, loop: loop, logger: logger)
        forkServer?.handle(.begin)
    }

    /// Starts a process for a slot, or as a warm spare.
    private func spawn(_ incarnation: Int, _ target: SpawnTarget) {
        do {
            if try !start(incarnation, target, by: forkServer) { _ = try start(incarnation, target, by: nil) }
            handle(.spawned(incarnation))
        } catch {
            if unstarted.last?.error == "\(error)" {
                unstarted[unstarted.count - 1].targets.append(target)
            } else {
                unstarted.append(("\(error)", [target]))
            }
            handle(.spawnFailed(incarnation))
        }
    }

    /// One line for all that failed alike: there may be hundreds.
    private func logUnstarted() {
        for (error, targets) in unstarted {
            var details: Logger.Metadata = ["worker": "\(name(of: targets[0]))", "error": "\(error)"]
            if targets.count > 1 { details["count"] = "\(targets.count)" }
            logger.error("cannot start worker process", metadata: details)
        }
        unstarted = []
    }

    /// The descriptors that a worker gets before its sockets: arena, vital signs, control channel.
    private static let ownDescriptors = 3

    /// Returns false when the fork server has failed in the middle: somebody may have the descriptors now.
    private func start(_ incarnation: Int, _ target: SpawnTarget, by server: ForkServer?) throws -> Bool {
        let sharedArena = arenaOfSlot(target)
        let arena = try sharedArena ?? ArenaFile.create(name: "muster-metrics", capacity: plan.arenaCapacity)
        let vitalSigns = try VitalSignsReader.create(name: "muster-vital-signs")
        let (ours, theirs) = try ControlChannel.pair()
        let first = SpawnRequest.firstDescriptor
        let marker = WorkerMarker(
            group: target.group, name: state.groupName(target.group), slot: target.slot, incarnation: incarnation,
            supervisor: getpid(), controlInode: try theirs.inode, arena: first, arenaInode: try arena.inode,
            vitalSigns: first + 1, control: first + 2,
            sockets: plan.sockets.enumerated().map { index, socket in
                WorkerMarker.Socket(name: socket.name, descriptor: first + Int32(Self.ownDescriptors + index))
            }, settings: settings)
        let descriptors =
            [arena.rawValue, vitalSigns.descriptor.rawValue, theirs.descriptor.rawValue]
            + plan.sockets.map(\.descriptor)
        let process: ChildProcess
        var isForked = false
        switch server?.fork(title: title(of: target), marker: marker, descriptors: descriptors) ?? .unavailable {
        case .lost: return false
        case .forked(let forked):
            process = forked
            isForked = true
        case .unavailable: process = try spawn(target, marker, descriptors)
        }
        let child = WorkerChild(
            incarnation: incarnation, process: process, isForked: isForked, channel: ours, vitalSigns: vitalSigns,
            ownArena: sharedArena == nil ? arena : nil, target: target)
        children[incarnation] = child
        do {
            try watch(child)
        } catch {
            // Its exit would go unnoticed, so it must not run.
            process.killGroup()
            unwatch(child)
            children[incarnation] = nil
            // Reaped at the next SIGCHLD.
            abandoned.append(process)
            throw error
        }
        expectWord(of: child)
        let rules = LogLevels.shared.encoded
        if !rules.isEmpty { child.channel.send(.logLevels(rules)) }
        if case .slot(let worker) = target { showArenaSoon(of: child, in: worker) }
        return true
    }

    private func spawn(
        _ target: SpawnTarget, _ marker: WorkerMarker, _ descriptors: [Int32]
    ) throws(SystemError) -> ChildProcess {
        var environment = plan.environment
        environment[WorkerMarker.variable] = marker.encoded
        var request = SpawnRequest(
            title: title(of: target), arguments: plan.arguments, environment: environment, descriptors: descriptors)
        request.executable = plan.executable
        // A spare is renamed when it gets a slot.
        if target.slot == nil { request.titleRoom = request.title.utf8.count + 8 }
        return try ChildProcess.spawn(request)
    }

    /// The slot's arena, for a process that counts beside another one of the slot: the successor in a reload. All others
    /// get an empty one of their own.
    private func arenaOfSlot(_ target: SpawnTarget) -> OwnedDescriptor? {
        guard case .slot(let worker) = target else { return nil }
        let others = children.values.filter { $0.target == target && !state.isDying($0.incarnation) }
        guard !others.isEmpty else { return nil }
        for other in others { showArena(of: other) }
        let slot = slot(worker)
        if let arena = slot.arena, !slot.source.needsFreshArena() { return arena }
        logger.warning(
            "metric arena damaged; creating a new one", metadata: ["worker": "\(name(of: target))"])
        return nil
    }

    /// How long a process may start before its metrics are shown.
    private static let hiddenTime = Duration.milliseconds(10)

    /// Shows a process' own arena from when it is ready, or from a moment later on, with the totals of the slot's old one.
    /// Reading them takes as long as a warm spare needs to start its service, and might keep it from its processor.
    private func showArenaSoon(of child: WorkerChild, in worker: WorkerID) {
        _ = slot(worker)
        guard child.ownArena != nil else { return }
        let incarnation = child.incarnation
        child.showing = loop.schedule(at: .now.advanced(by: Self.hiddenTime)) { [unowned self] in
            if let child = children[incarnation] { showArena(of: child) }
        }
    }

    private func showArena(of child: WorkerChild) {
        guard let showing = child.showing.take(), let arena = child.ownArena, case .slot(let worker) = child.target
        else {
            return
        }
        loop.cancel(showing)
        let slot = slot(worker)
        slot.source.use(arena: arena)
        slot.arena = arena
    }

    private func slot(_ worker: WorkerID) -> SlotRecord {
        if let known = slots[worker] { return known }
        let source = SlotSource(
            constantLabels: [("worker", "\(worker.slot)"), ("worker_group", state.groupName(worker.group))],
            logger: logger)
        let slot = SlotRecord(source: source)
        slots[worker] = slot
        addSource(source)
        return slot
    }

    /// Lets a warm spare take over a slot.
    private func promoted(_ incarnation: Int, to worker: WorkerID) {
        guard let child = children[incarnation] else { return }
        child.target = .slot(worker)
        showArenaSoon(of: child, in: worker)
    }

    /// The name in the process list.
    private func title(of target: SpawnTarget) -> String {
        WorkerTitle.long(program: plan.program, worker: name(of: target))
    }

    /// The name in log messages, for example `mailer/2`.
    private func name(of target: SpawnTarget) -> String {
        "\(state.groupName(target.group))/\(target.slot.map { "\($0)" } ?? "spare")"
    }
}

extension Supervisor {
    // MARK: Log messages

    private func log(_ notice: SupervisorNotice) {
        switch notice {
        case .started(let worker, let incarnation):
            logger.info("worker started", metadata: metadata(worker, incarnation))
        case .spareStarted(let group, let incarnation):
            logger.debug("warm spare started", metadata: metadata(.spare(group: group), incarnation))
        case .spareParked(let group, let incarnation):
            logger.debug("warm spare ready", metadata: metadata(.spare(group: group), incarnation))
        case .ready(let worker, let incarnation):
            logger.info("worker ready", metadata: metadata(worker, incarnation))
        case .startFailed(let worker, let incarnation):
            var details = metadata(worker, incarnation)
            details["reason"] = "\(children[incarnation]?.failure ?? "unknown")"
            logger.error("worker's service failed to start", metadata: details)
        case .dying(let worker, let incarnation):
            logger.debug("worker is ending; replacing it", metadata: metadata(worker, incarnation))
        case .died(let death): log(death)
        case .restarting(let worker, let reason, let delay):
            var details = metadata(worker, nil)
            details["reason"] = "\(reason.rawValue)"
            details["delay_seconds"] = delay.secondsMetadata
            logger.log(level: delay > .zero ? .warning : .info, "restarting worker", metadata: details)
        case .recycling(let worker, let incarnation, let cause):
            logger.info("recycling worker", metadata: metadata(worker, incarnation).merging(cause.metadata) { $1 })
        case .tooLargeTooSoon(let worker, let incarnation, let cause):
            var details = metadata(worker, incarnation).merging(cause.metadata) { $1 }
            details["remedy"] =
                "raise muster.recycle.memory above what a worker needs, or lower muster.recycle.minimum-age"
            logger.warning("worker reached its memory limit before its minimum age", metadata: details)
        case .replacementFailed(let worker, let incarnation):
            logger.error(
                "replacement did not become ready; keeping the current worker", metadata: metadata(worker, incarnation))
        case .completed(let worker):
            logger.info("worker completed", metadata: metadata(worker, nil))
        case .spawnFailed(let target, _, let delay):
            // The error itself is logged where it occurs.
            guard delay > .zero else { break }
            var details = metadata(target, nil)
            details["delay_seconds"] = delay.secondsMetadata
            logger.error("worker failed to start; restarting", metadata: details)
        case .unresponsive(let worker, let incarnation):
            logger.error("terminating hung worker", metadata: metadata(worker, incarnation))
        case .startupTimedOut(let target, let incarnation):
            var details = metadata(target, incarnation)
            details["remedy"] = "start() has to return: what serves belongs into threads and timers"
            logger.error("startup timeout exceeded; terminating worker", metadata: details)
        case .stopTimedOut(let incarnation):
            guard let child = children[incarnation] else { break }
            logger.error("stop timeout exceeded; killing worker", metadata: metadata(child.target, incarnation))
        case .reloadBegan: logger.info("reload started")
        case .reloadEnded(let outcome): log(outcome)
        case .resetEnded(.aborted): logger.error("reload failed: a worker's service did not take up the settings")
        case .resetEnded(let outcome): log(outcome)
        case .intensityExceeded(let group):
            logger.error("restart intensity exceeded", metadata: ["worker_group": "\(state.groupName(group))"])
        case .intensityCalm(let group):
            logger.notice(
                "restart intensity back to normal", metadata: ["worker_group": "\(state.groupName(group))"])
        case .scaled(let group, let workers):
            logger.info(
                "scaling workers",
                metadata: ["worker_group": "\(state.groupName(group))", "workers": "\(workers)"])
        case .shutdownBegan(let status): logger.info("stopping workers", metadata: ["exit_code": "\(status)"])
        case .halted: logger.critical("immediate shutdown: killing all workers")
        }
    }

    private func log(_ outcome: ReloadOutcome) {
        switch outcome {
        case .completed: logger.info("reload completed")
        case .aborted:
            logger.error("reload aborted: replacement worker did not become ready; keeping the current workers")
        case .refused: logger.error("reload refused")
        case .superseded: logger.info("reload superseded by a newer one")
        }
    }

    private func log(_ death: WorkerDeath) {
        let target: SpawnTarget = death.worker.map { .slot($0) } ?? .spare(group: death.group)
        var details = metadata(target, death.incarnation)
        details["reason"] = "\(death.reason.rawValue)"
        details["uptime_seconds"] = death.uptime.secondsMetadata
        switch death.termination {
        case .exited(let code): details["exit_code"] = "\(code)"
        case .signaled(let signal): details["signal"] = "\(UnixSignal(rawValue: signal))"
        }
        let level: Logger.Level =
            switch death.reason {
            case .requested, .reload, .recycled: .info
            default: death.termination == .exited(code: 0) ? .notice : .error
            }
        logger.log(level: level, "worker exited", metadata: details)
    }

    private func metadata(_ worker: WorkerID, _ incarnation: Int?) -> Logger.Metadata {
        metadata(.slot(worker), incarnation)
    }

    private func metadata(_ target: SpawnTarget, _ incarnation: Int?) -> Logger.Metadata {
        var details: Logger.Metadata = ["worker": "\(name(of: target))"]
        let child = incarnation.flatMap { children[$0] } ?? (exiting?.incarnation == incarnation ? exiting : nil)
        if let pid = child?.process.pid { details["pid"] = "\(pid)" }
        return details
    }
}

/// What a slot keeps over the generations of its workers. Belongs to the supervisor's thread.
private final class SlotRecord {
    let source: SlotSource
    var arena: OwnedDescriptor?
    /// CPU time of the processes that are gone, in seconds.
    var cpuSeconds = 0.0 { didSet { isPublished = false } }
    /// Whether the report has it as it is.
    var isPublished = false

    init(source: SlotSource) {
        self.source = source
    }
}

/// One process of the supervisor's. Belongs to the supervisor's thread.
private final class WorkerChild {
    let incarnation: Int
    let process: ChildProcess
    /// Whether it has the fork server's address layout.
    let isForked: Bool
    let channel: ControlChannel
    let vitalSigns: VitalSignsReader
    /// Its own arena; nil for a process that got its slot's.
    let ownArena: OwnedDescriptor?
    var target: SpawnTarget { didSet { isPublished = false } }
    /// Whether the report has it as it is.
    var isPublished = false
    var pidWatch: EventLoop.Watch?
    var channelWatch: EventLoop.Watch?
    var inspection: (action: EventLoop.ScheduledAction, instant: MonotonicInstant)?
    /// Set until its arena is shown.
    var showing: EventLoop.ScheduledAction?
    var stopCheck: EventLoop.ScheduledAction?
    var crashCheck: EventLoop.ScheduledAction?
    /// Until when it is not judged.
    var graceEnd: MonotonicInstant?
    /// Since when the system has kept it from running (SIGSTOP).
    var stoppedSince: MonotonicInstant? { didSet { isPublished = false } }
    var isStopped: Bool { stoppedSince != nil }
    /// When it was found to be hung.
    var hungSince: MonotonicInstant? { didSet { isPublished = false } }
    /// Whether a message of its has come: it then tells of crashes, too.
    var hasSpoken = false
    /// Since when it has been writing the backtraces of a crash.
    var crashSince: MonotonicInstant?
    var malformedMessages = LogLimit()
    var suspensions = LogLimit()
    /// Whether the supervisor has sent SIGABRT: its handler counts as no crash.
    var isAborted = false
    /// Whether the supervisor has sent SIGKILL, which then was not the kernel's.
    var isKilled = false
    /// Why its services did not start.
    var failure: String?

    init(
        incarnation: Int, process: ChildProcess, isForked: Bool, channel: ControlChannel,
        vitalSigns: VitalSignsReader, ownArena: OwnedDescriptor?, target: SpawnTarget
    ) {
        self.incarnation = incarnation
        self.process = process
        self.isForked = isForked
        self.channel = channel
        self.vitalSigns = vitalSigns
        self.ownArena = ownArena
        self.target = target
    }
}

extension RecycleCause {
    /// What a log message says of it.
    fileprivate var metadata: Logger.Metadata {
        switch self {
        case .memory(let bytes): ["cause": "memory", "anonymous_memory_bytes": "\(bytes)"]
        case .age: ["cause": "age"]
        case .requested(let reason): ["cause": "requested", "reason": "\(reason)"]
        }
    }
}

extension Duration {
    /// The duration in seconds to the millisecond, as metadata of log messages.
    fileprivate var secondsMetadata: Logger.MetadataValue { "\((inSeconds * 1000).rounded() / 1000)" }
}
