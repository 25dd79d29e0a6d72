// SPDX-License-Identifier: Apache-2.0

import CMuster
import DequeModule
import Glibc
import MusterLock
import Synchronization

/// A run queue, a heap of timers and a set of awaited descriptors, served by at most one thread at a time.
///
/// The loop is a `TaskExecutor`: a task that prefers it runs on the loop's thread only. Work may come from any
/// thread; what the loop's own thread hands in takes no lock. When the loop has nothing to do its thread sleeps in
/// one system call until the earliest deadline, a ready descriptor or new work: nothing polls.
///
/// A loop is not tied to a thread for life. While no thread runs it, it is *detached*; work that arrives then is
/// kept and the loop's starter, if it has one, starts a thread. So no work handed to a loop is ever lost.
///
/// Sound as `@unchecked Sendable`: what is marked as the runner's is touched only by the thread that runs the loop,
/// one at a time, and passes from one to the next through `shared`'s lock; everything else is immutable or locked.
package final class EventLoop: TaskExecutor, @unchecked Sendable {
    /// How the loop's thread waits.
    package enum Parking: Sendable {
        /// On a condition variable until a descriptor is awaited for the first time, on epoll from then on.
        /// Costs no descriptor for loops that never await any.
        case onDemand
        /// On epoll from the start.
        case descriptors
    }

    enum Attachment {
        case detached
        case starting
        case attached
    }

    struct Shared {
        var jobs: [UnownedJob] = []
        var works: [@Sendable () -> Void] = []
        var attachment = Attachment.detached
        var isParked = false
        var isStopping = false
        var isLeaving = false
        var isRetiring = false
        /// How many users want the thread to stay although it is idle.
        var holds = 0
        /// Whether it counts in the loop's `activity`.
        var isActive = false
        var starter: (@Sendable (EventLoop) -> Void)?

        mutating func leave() {
            attachment = .detached
            isStopping = false
            isRetiring = false
        }
    }

    private enum Step {
        case job(UnownedJob)
        case yielded(UnsafeContinuation<Void, Never>)
    }

    enum Timer {
        case sleeper(UnsafeContinuation<Bool, Never>)
        case action(@Sendable () -> Void)
    }

    /// How a native thread is started: name, stack size, body.
    typealias ThreadSource = @Sendable (String, Int?, @escaping @Sendable () -> Void) throws(SystemError) -> Void

    /// The name given at creation, for error messages and thread names.
    package let name: String

    let threadSource: ThreadSource
    private let isDeferrable: Bool
    private let observer: (any EventLoopObserver)?
    private let activity: LoopActivity?
    let shared: Locked<Shared>
    let parkingLot: ParkingLot
    /// Whether `shared` holds work for the runner.
    private let hasRemote = Atomic<Bool>(false)
    /// When the present turn began, in monotonic nanoseconds; 0 while parked, detached or idle.
    private let turnStart = Atomic<Int64>(0)
    private let turns = Atomic<UInt64>(0)
    private let leaveRequested = Atomic<Bool>(false)
    private let runner = Atomic<Int32>(0)

    // The runner's: nothing but the thread that runs the loop touches these.
    private var timerSlack: UInt = 1
    private var queue = Deque<Step>()
    /// While a task that has yielded is resumed, what the runtime hands in for it.
    private var resumed: UnownedJob?
    private var isResuming = false
    private var publisher: TurnPublisher?
    var timers = TimerHeap<Timer>()
    var poller: DescriptorPoller?
    var mainQueue: Watch?
    private var drainedJobs: [UnownedJob] = []
    private var drainedWorks: [@Sendable () -> Void] = []

    /// Creates a detached loop.
    ///
    /// - Parameters:
    ///   - name: For error messages and thread names.
    ///   - parking: How the loop's thread waits.
    ///   - isDeferrable: Whether the kernel may wake the thread as late as its timers tolerate, together with others.
    ///   - observer: Hears of every turn.
    ///   - activity: Counts the loop while it has something to run.
    ///   - starter: Called, on any thread, when work arrives while no thread runs the loop; it has to see to it
    ///     that one does (and may do so later).
    /// - Throws: ``SystemError`` when the kernel gives no epoll or event descriptor.
    package convenience init(
        name: String, parking: Parking = .onDemand, isDeferrable: Bool = false,
        observer: (any EventLoopObserver)? = nil, activity: LoopActivity? = nil,
        starter: (@Sendable (EventLoop) -> Void)? = nil
    ) throws(SystemError) {
        try self.init(
            name: name, parking: parking, isDeferrable: isDeferrable, observer: observer, activity: activity,
            starter: starter,
            threadSource: { (name, stackSize, body) throws(SystemError) in
                try NativeThread.start(name: name, stackSize: stackSize, body)
            })
    }

    init(
        name: String, parking: Parking = .onDemand, isDeferrable: Bool = false,
        observer: (any EventLoopObserver)? = nil, activity: LoopActivity? = nil,
        starter: (@Sendable (EventLoop) -> Void)? = nil,
        threadSource: @escaping ThreadSource
    ) throws(SystemError) {
        self.name = name
        self.threadSource = threadSource
        self.isDeferrable = isDeferrable
        self.observer = observer
        self.activity = activity
        shared = Locked(Shared(starter: starter))
        parkingLot = ParkingLot()
        if case .descriptors = parking {
            let poller = try DescriptorPoller()
            self.poller = poller
            parkingLot.useDescriptor(poller.wakeDescriptor)
            register(poller)
        }
    }

    deinit {
        if poller != nil { Self.polling.withLock { $0[ObjectIdentifier(self)] = nil } }
    }

    // MARK: The current loop

    /// The loop that the calling thread runs.
    package static var current: EventLoop? {
        cmuster_current_loop().map { Unmanaged<EventLoop>.fromOpaque($0).takeUnretainedValue() }
    }

    /// Whether the calling thread runs this loop.
    @inline(__always)
    package var isCurrent: Bool {
        cmuster_current_loop() == Unmanaged.passUnretained(self).toOpaque()
    }

    /// A loop on a thread of its own for what belongs to no other: timers of tasks that run on no loop, signals,
    /// deadlines that must hold although every job hangs. The thread starts with the first use and ends after ten
    /// idle seconds.
    package static let auxiliary = onDemand(name: "muster-aux") { loop in
        loop.startThread(name: "muster-aux", keepAlive: .seconds(10))
    }

    /// A loop whose starter is called when there is something to do.
    static func onDemand(name: String, starter: @escaping @Sendable (EventLoop) -> Void) -> EventLoop {
        do {
            return try EventLoop(name: name, starter: starter)
        } catch {
            // It opens no descriptor, so creation cannot fail.
            preconditionFailure("an event loop without descriptors could not be created: \(error)")
        }
    }

    /// A loop with a thread that is there only while there is something to do.
    ///
    /// - Parameters:
    ///   - keepAlive: How long the thread stays without anything to do.
    ///   - other: Does the work itself where the system refuses a thread, and all that it has to do waits meanwhile.
    package static func helper(
        name: String, keepAlive: Duration, or other: EventLoop
    ) throws(SystemError) -> EventLoop {
        try EventLoop(name: name, starter: helperStarter(name: name, keepAlive: keepAlive, or: other))
    }

    static func helperStarter(
        name: String, keepAlive: Duration, or other: EventLoop
    ) -> @Sendable (EventLoop) -> Void {
        { helper in
            do {
                try helper.attachThread(name: name, keepAlive: keepAlive)
            } catch {
                // Another one may run it by then.
                other.submit { try? helper.run(keepAlive: .zero) }
            }
        }
    }

    // MARK: Handing work in

    /// Queues a step of a task; called by the Swift runtime.
    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if isCurrent {
            if isResuming { resumed = job } else { queue.append(.job(job)) }
        } else {
            hand { $0.jobs.append(job) }
        }
    }

    /// Runs a closure on the loop's thread, after everything submitted before it.
    ///
    /// - Parameter work: What to run; it must not block.
    package func submit(_ work: @escaping @Sendable () -> Void) {
        hand { $0.works.append(work) }
    }

    private enum AfterHanding {
        case nothing
        case wake
        case start(@Sendable (EventLoop) -> Void)
    }

    private func hand(_ add: (inout Shared) -> Void) {
        let next: AfterHanding = shared.withLock { state in
            add(&state)
            hasRemote.store(true, ordering: .releasing)
            if activity != nil { setActive(true, &state) }
            if state.isParked {
                state.isParked = false
                return .wake
            }
            if case .detached = state.attachment, let starter = state.starter {
                state.attachment = .starting
                return .start(starter)
            }
            return .nothing
        }
        switch next {
        case .nothing: break
        case .wake: parkingLot.unpark()
        case .start(let starter): starter(self)
        }
    }

    /// Changes what the runner goes by and, when it sleeps, wakes it to take notice; starts no thread.
    private func tell(_ change: (inout Shared) -> Void) {
        let wasParked = shared.withLock { state in
            change(&state)
            hasRemote.store(true, ordering: .releasing)
            if state.isParked { setActive(true, &state) }
            defer { state.isParked = false }
            return state.isParked
        }
        if wasParked { parkingLot.unpark() }
    }

    /// Suspends the calling task until all that is queued has had its turn. To be called on the loop's thread.
    ///
    /// `Task.yield` makes a job of its own for that, which is queued before the task's.
    package nonisolated(nonsending) func yield() async {
        requireOwnThread("yield")
        await withUnsafeContinuation { queue.append(.yielded($0)) }
    }

    // MARK: Running

    /// Runs the loop on the calling thread until ``stop()``, or until it has been idle for a while.
    ///
    /// - Parameter keepAlive: How long to wait idle (nothing queued, no timer, no awaited descriptor) before
    ///   returning; `nil` for ever.
    /// - Throws: ``EventLoopBusyError``.
    package func run(keepAlive: Duration? = nil) throws(EventLoopBusyError) {
        let isFree = shared.withLock { state in
            if case .attached = state.attachment { return false }
            state.attachment = .attached
            setActive(true, &state)
            return true
        }
        guard isFree else { throw EventLoopBusyError(loop: name) }
        let outer = cmuster_current_loop()
        cmuster_set_current_loop(Unmanaged.passUnretained(self).toOpaque())
        // Timers then fire when they are due instead of up to 50 µs later.
        timerSlack = 1
        cmuster_set_timer_slack(1)
        runner.store(NativeThread.currentIdentifier, ordering: .relaxed)
        defer {
            runner.store(0, ordering: .relaxed)
            cmuster_set_current_loop(outer)
        }
        while true {
            runTurn()
            if leaveRequested.load(ordering: .relaxed), takeLeave() { return }
            if queue.isEmpty, !hasRemote.load(ordering: .acquiring) {
                switch park(keepAlive: keepAlive) {
                case .goOn: continue
                case .leave: return
                }
            }
            // However busy the loop is, descriptors get their turn.
            poller?.check()
        }
    }

    /// Makes the running thread leave the loop once its queue is empty. Timers and awaited descriptors stay, and
    /// are served again when a thread runs the loop again.
    ///
    /// It starts no thread: when none runs the loop, the next one leaves as soon as it has done what is queued.
    package func stop() {
        tell { $0.isStopping = true }
    }

    /// Makes the running thread leave the loop as soon as it is idle, whatever its `keepAlive` is. Unlike
    /// ``stop()`` it leaves no timer and no awaited descriptor behind.
    package func retire() {
        tell { $0.isRetiring = true }
    }

    /// Keeps the thread from ending although the loop is idle, until ``letGo()`` has been called as often.
    package func hold() {
        shared.withLock { $0.holds += 1 }
    }

    /// Takes back one ``hold()``.
    package func letGo() {
        tell { $0.holds -= 1 }
    }

    /// Whether a thread runs the loop.
    package var isRunning: Bool {
        shared.withLock { if case .attached = $0.attachment { true } else { false } }
    }

    /// Makes the running thread leave the loop after the present turn, whatever is left. What is left goes on at once
    /// on a thread of the starter's, or, without a starter, when a thread runs the loop again.
    package func leave() {
        tell { state in
            state.isLeaving = true
            leaveRequested.store(true, ordering: .relaxed)
        }
    }

    /// Detaches the running thread if ``leave()`` was called.
    private func takeLeave() -> Bool {
        // No other thread can serve it.
        if let watch = mainQueue.take() { unwatch(watch) }
        let isWorkLeft = !queue.isEmpty || timers.count > 0 || !(poller?.isUnused ?? true)
        var starter: (@Sendable (EventLoop) -> Void)?
        let isLeaving = shared.withLock { state in
            guard state.isLeaving else { return false }
            state.isLeaving = false
            leaveRequested.store(false, ordering: .relaxed)
            state.attachment = .detached
            endTurns()
            if isWorkLeft || !state.jobs.isEmpty || !state.works.isEmpty, let next = state.starter {
                state.attachment = .starting
                starter = next
            } else {
                setActive(false, &state)
            }
            return true
        }
        starter?(self)
        return isLeaving
    }

    private enum AfterParking {
        case goOn
        case leave
    }

    private enum ParkingDecision {
        case goOn
        case leave
        case sleep(mayLeave: Bool)
    }

    private func park(keepAlive: Duration?) -> AfterParking {
        endTurns()
        let isIdle = timers.count == 0 && (poller?.isUnused ?? true)
        let idleEnd: Int64? =
            if isIdle, let keepAlive { MonotonicInstant.now.advanced(by: keepAlive).nanoseconds } else { nil }
        // Going to sleep for a deadline that has passed would give the processor away.
        let isDue = timers.earliest.map { $0 <= cmuster_monotonic_ns() } ?? false
        let decision: ParkingDecision = shared.withLock { state in
            if !state.jobs.isEmpty || !state.works.isEmpty || state.isLeaving { return .goOn }
            if state.isStopping || (state.isRetiring && isIdle && state.holds == 0) {
                state.leave()
                hasRemote.store(false, ordering: .relaxed)
                setActive(false, &state)
                return .leave
            }
            if isDue { return .goOn }
            state.isParked = true
            setActive(false, &state)
            return .sleep(mayLeave: idleEnd != nil && state.holds == 0)
        }
        let mayLeave: Bool
        switch decision {
        case .goOn:
            poller?.check()
            return .goOn
        case .leave:
            return .leave
        case .sleep(let isAllowed): mayLeave = isAllowed
        }
        let waking = mayLeave ? nil : timers.waking()
        if isDeferrable { setTimerSlack(waking?.slack ?? 0) }
        let deadline = mayLeave ? idleEnd : waking?.instant
        if let poller {
            poller.wait(until: deadline)
        } else {
            parkingLot.wait(until: deadline)
        }
        // A wake-up for something that was taken up before, or an interrupted wait, is not the end of an idle time.
        let isOver = mayLeave && cmuster_monotonic_ns() >= (idleEnd ?? .max)
        return shared.withLock { state in
            let wasWoken = !state.isParked
            state.isParked = false
            guard isOver, !wasWoken, state.holds == 0, state.jobs.isEmpty, state.works.isEmpty else {
                setActive(true, &state)
                return .goOn
            }
            state.leave()
            return .leave
        }
    }

    private func setActive(_ isActive: Bool, _ state: inout Shared) {
        guard let activity, state.isActive != isActive else { return }
        state.isActive = isActive
        if isActive { activity.began() } else { activity.ended() }
    }

    private func setTimerSlack(_ slack: Int64) {
        // The kernel's own default; less does not bring enough together to be worth a system call.
        let slack = slack >= 50_000 ? UInt(slack) : 1
        guard slack != timerSlack else { return }
        timerSlack = slack
        cmuster_set_timer_slack(slack)
    }

    private static let longestBatch = 64
    private static let longestTurn: Int64 = 500_000

    private func runTurn() {
        let start = cmuster_monotonic_ns()
        beginTurn(at: start)
        if let poller { poller.deliver() }
        if timers.count > 0 { fireTimers(at: start) }
        if hasRemote.load(ordering: .acquiring) { drain() }
        let executor = asUnownedTaskExecutor()
        var count = 0
        // A batch ends after a number of steps or some time, whichever is first, so that timers and descriptors
        // are looked at in between however busy the queue is.
        while count < Self.longestBatch, let step = queue.popFirst() {
            switch step {
            case .job(let job): job.runSynchronously(on: executor)
            case .yielded(let continuation):
                isResuming = true
                continuation.resume()
                isResuming = false
                // None when the task goes on elsewhere.
                resumed.take()?.runSynchronously(on: executor)
            }
            count += 1
            if count & 7 == 0, cmuster_monotonic_ns() &- start > Self.longestTurn { break }
        }
        let turn = turns.wrappingAdd(1, ordering: .relaxed).newValue
        if let publisher { publisher.end(turns: turn) }
        if let observer {
            observer.turnEnded(nanoseconds: cmuster_monotonic_ns() &- start, jobs: count)
        }
    }

    private func drain() {
        shared.withLock { state in
            swap(&state.jobs, &drainedJobs)
            swap(&state.works, &drainedWorks)
            // A stop is taken up when there is nothing left to run.
            hasRemote.store(false, ordering: .relaxed)
        }
        queue.append(contentsOf: drainedJobs.lazy.map(Step.job))
        drainedJobs.removeAll(keepingCapacity: true)
        for work in drainedWorks { work() }
        drainedWorks.removeAll(keepingCapacity: true)
    }

    private func fireTimers(at now: Int64) {
        // Those that are armed while others fire have to wait for the next turn: an action that schedules itself
        // in the past would keep everything else from running.
        var remaining = timers.count
        while remaining > 0, let (_, timer) = timers.popDue(at: now) {
            remaining -= 1
            switch timer {
            case .sleeper(let continuation): continuation.resume(returning: true)
            case .action(let action): action()
            }
        }
    }

    private func beginTurn(at start: Int64) {
        turnStart.store(start, ordering: .relaxed)
        if let publisher { publisher.begin(at: start) }
    }

    private func endTurns() {
        turnStart.store(0, ordering: .relaxed)
        if let publisher { publisher.sleep() }
    }

    // MARK: Progress

    /// Publishes each of the loop's turns to another process. To be called on the loop's thread, or while none
    /// runs it.
    ///
    /// - Parameter publisher: `nil` stops publishing.
    package func publishTurns(to publisher: TurnPublisher?) {
        requireOwnThread("publishTurns", orDetached: true)
        self.publisher?.sleep()
        self.publisher = publisher
        let start = turnStart.load(ordering: .relaxed)
        if start != 0, isCurrent { publisher?.begin(at: start) }
    }

    /// Runs work that blocks the loop's thread on purpose: that does not count as a turn that lasts. To be called on the
    /// loop's thread.
    package func blocking<Result>(_ work: () throws -> Result) rethrows -> Result {
        requireOwnThread("blocking")
        endTurns()
        defer { beginTurn(at: cmuster_monotonic_ns()) }
        return try work()
    }

    /// How many turns the loop has made.
    package var turnCount: UInt64 { turns.load(ordering: .relaxed) }

    /// The kernel's number of the thread that runs the loop, and whether it sleeps; `nil` when none does.
    package var thread: (identifier: Int32, isParked: Bool)? {
        let identifier = runner.load(ordering: .relaxed)
        return identifier == 0 ? nil : (identifier, shared.withLock { $0.isParked })
    }

    /// For how long the present turn has kept the loop; zero while it sleeps.
    package func busyTime(at now: MonotonicInstant = .now) -> Duration {
        let start = turnStart.load(ordering: .relaxed)
        return start == 0 ? .zero : .nanoseconds(max(0, now.nanoseconds &- start))
    }
}

extension EventLoop {
    /// Suspends the calling task until a descriptor is ready.
    ///
    /// Any number of tasks may wait for one descriptor, in either direction. It may have been read or written by
    /// another one when the task goes on, so the call that follows should be prepared for `EAGAIN`. The descriptor
    /// must stay open meanwhile: closing it leaves the task waiting until it is cancelled.
    ///
    /// - Parameters:
    ///   - descriptor: The descriptor, which should be non-blocking.
    ///   - events: What to wait for; an error or a hang-up on the descriptor ends every wait.
    /// - Throws: `CancellationError` as soon as the task is cancelled; `DescriptorError/cannotWatch(descriptor:_:)`.
    package func ready(_ descriptor: Int32, for events: DescriptorEvents) async throws {
        if isCurrent { return try await readyHere(descriptor, for: events) }
        try await withTaskExecutorPreference(self) { try await self.readyHere(descriptor, for: events) }
    }

    private func readyHere(_ descriptor: Int32, for events: DescriptorEvents) async throws {
        let poller = try pollerForUse(descriptor)
        let identifier = poller.reserve()
        let outcome = await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                poller.arm(identifier, descriptor: descriptor, events: events, continuation: continuation)
            }
        } onCancel: {
            if isCurrent { poller.cancel(identifier) } else { submit { poller.cancel(identifier) } }
        }
        switch outcome {
        case .ready: return
        case .cancelled: throw CancellationError()
        case .failed(let error): throw DescriptorError.cannotWatch(descriptor: descriptor, error)
        }
    }

    /// Names a watched descriptor.
    package struct Watch: Sendable {
        fileprivate let identifier: UInt64
    }

    /// Calls a closure on the loop's thread whenever a descriptor is ready (level-triggered), until
    /// ``unwatch(_:)``. To be called on the loop's thread, or while none runs it.
    ///
    /// A loop that watches something is not idle. A hang-up is reported again and again, so a handler should end
    /// the watch then. Several watches, and tasks that wait, may share a descriptor.
    ///
    /// - Parameters:
    ///   - descriptor: The descriptor.
    ///   - events: What to watch for.
    ///   - handler: Called with what the descriptor is ready for; it must not block.
    /// - Returns: A name by which the watch can be ended.
    /// - Throws: `DescriptorError/cannotWatch(descriptor:_:)`.
    package func watch(
        _ descriptor: Int32, for events: DescriptorEvents, _ handler: @escaping @Sendable (DescriptorEvents) -> Void
    ) throws(DescriptorError) -> Watch {
        requireOwnThread("watch", orDetached: true)
        let poller = try pollerForUse(descriptor)
        do {
            return Watch(identifier: try poller.watch(descriptor, events: events, handler: handler))
        } catch {
            throw .cannotWatch(descriptor: descriptor, error)
        }
    }

    /// Ends a watch; the descriptor must still be open. To be called on the loop's thread, or while none runs it.
    package func unwatch(_ watch: Watch) {
        requireOwnThread("unwatch", orDetached: true)
        poller?.unwatch(watch.identifier)
    }

    private func pollerForUse(_ descriptor: Int32) throws(DescriptorError) -> DescriptorPoller {
        if let poller { return poller }
        let created: DescriptorPoller
        do {
            created = try DescriptorPoller()
        } catch {
            throw .cannotWatch(descriptor: descriptor, error)
        }
        poller = created
        parkingLot.useDescriptor(created.wakeDescriptor)
        register(created)
        return created
    }

    private struct PollingLoop: Sendable {
        weak let loop: EventLoop?
        let known: KnownDescriptors
    }

    /// The loops on which tasks may wait for descriptors.
    private static let polling = Locked<[ObjectIdentifier: PollingLoop]>([:])

    private func register(_ poller: DescriptorPoller) {
        Self.polling.withLock { $0[ObjectIdentifier(self)] = PollingLoop(loop: self, known: poller.known) }
    }

    /// Ends all tasks' waits for descriptors that have come to be another file: epoll knows files, not descriptors.
    package static func wakeWaiters(of descriptors: [Int32]) {
        let loops = polling.withLock { loops in
            loops.values.filter { !$0.known.isDisjoint(with: descriptors) }.compactMap(\.loop)
        }
        for loop in loops {
            // Starts no thread: where none runs the loop, the next one does this.
            loop.tell { state in
                state.works.append { [unowned loop] in
                    for descriptor in descriptors { loop.poller?.wakeWaiters(of: descriptor) }
                }
            }
        }
    }

    // MARK: The main queue

    /// Makes this loop serve libdispatch's main queue, so that `MainActor` code runs while the main thread runs the
    /// loop. To be called on the main thread, before it runs the loop, by a program whose `main` is synchronous.
    ///
    /// Should another thread run the loop later, it leaves the main queue alone from then on.
    ///
    /// - Throws: `DescriptorError/cannotWatch(descriptor:_:)`.
    package func serveMainQueue() throws(DescriptorError) {
        if let mainQueue { unwatch(mainQueue) }
        mainQueue = try watch(cmuster_main_queue_descriptor(), for: .readable) { [unowned self] _ in drainMainQueue() }
        submit { [self] in drainMainQueue() }
    }

    private func drainMainQueue() {
        if cmuster_is_main_thread() {
            cmuster_main_queue_drain()
        } else if let watch = mainQueue.take() {
            unwatch(watch)
        }
    }
}

extension EventLoop {
    /// Starts a native thread that runs the loop.
    ///
    /// When the system has no room for a thread, it is tried again every 100 ms from the ``auxiliary`` loop: work is
    /// late then, not lost. When there is no room for that loop's thread either, a caller that runs a loop tries again
    /// later; any other is held up until there is, as libdispatch does it: there is no thread left that could try again.
    ///
    /// - Parameters:
    ///   - name: The thread's name.
    ///   - keepAlive: How long the thread waits idle before it ends; `nil` for ever.
    ///   - stackSize: The thread's stack in bytes; the system's default when `nil`.
    ///   - whenDone: Called once, on the thread when it leaves the loop; on the ``auxiliary`` thread when another
    ///     one has taken the loop over before a thread could be had.
    package func startThread(
        name: String, keepAlive: Duration? = nil, stackSize: Int? = nil,
        whenDone: (@Sendable () -> Void)? = nil
    ) {
        markStarting()
        while true {
            do {
                return try launch(name: name, keepAlive: keepAlive, stackSize: stackSize, whenDone: whenDone)
            } catch {
                guard self === EventLoop.auxiliary else { break }
                if let caller = EventLoop.current { return startLater(by: caller) }
                usleep(10_000)
            }
        }
        // The loop stays marked as starting, so that work arriving meanwhile begins no second series of tries.
        EventLoop.auxiliary.submit { [self] in
            EventLoop.auxiliary.schedule(at: .now.advanced(by: .milliseconds(100))) { [self] in
                guard !isRunning else {
                    whenDone?()
                    return
                }
                startThread(name: name, keepAlive: keepAlive, stackSize: stackSize, whenDone: whenDone)
            }
        }
    }

    /// Starts a native thread that runs the loop, or reports that there is none to be had.
    ///
    /// - Parameters:
    ///   - name: The thread's name.
    ///   - keepAlive: How long the thread waits idle before it ends; `nil` for ever.
    ///   - stackSize: The thread's stack in bytes; the system's default when `nil`.
    ///   - whenDone: Called on the thread when it leaves the loop.
    /// - Throws: ``SystemError`` when the system has no room for another thread.
    package func attachThread(
        name: String, keepAlive: Duration? = nil, stackSize: Int? = nil,
        whenDone: (@Sendable () -> Void)? = nil
    ) throws(SystemError) {
        markStarting()
        do {
            try launch(name: name, keepAlive: keepAlive, stackSize: stackSize, whenDone: whenDone)
        } catch {
            shared.withLock { if case .starting = $0.attachment { $0.attachment = .detached } }
            throw error
        }
    }

    /// Has a loop that must not wait try again to start the thread of this one.
    private func startLater(by caller: EventLoop) {
        shared.withLock { if case .starting = $0.attachment { $0.attachment = .detached } }
        caller.schedule(at: .now.advanced(by: .milliseconds(100))) { [self] in
            let starter = shared.withLock { state -> (@Sendable (EventLoop) -> Void)? in
                guard case .detached = state.attachment, !state.jobs.isEmpty || !state.works.isEmpty else { return nil }
                state.attachment = .starting
                return state.starter
            }
            starter?(self)
        }
    }

    private func markStarting() {
        shared.withLock { if case .detached = $0.attachment { $0.attachment = .starting } }
    }

    private func launch(
        name: String, keepAlive: Duration?, stackSize: Int?, whenDone: (@Sendable () -> Void)?
    ) throws(SystemError) {
        try threadSource(name, stackSize) { [self] in
            // Whoever runs the loop already does what this thread was started for.
            try? run(keepAlive: keepAlive)
            whenDone?()
        }
    }

    /// Claims the loop for a thread that will call ``run(keepAlive:)`` later, so that arriving work starts none.
    ///
    /// - Returns: `false` when a thread runs the loop already or is about to.
    package func claim() -> Bool {
        shared.withLock { state in
            guard case .detached = state.attachment else { return false }
            state.attachment = .starting
            return true
        }
    }
}

extension EventLoop {
    /// Suspends the calling task until an instant.
    ///
    /// - Parameter tolerance: By how much the wait may be longer, so that one waking serves several timers.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    package nonisolated(nonsending) func sleep(
        until deadline: MonotonicInstant, tolerance: Duration = .zero
    ) async throws(CancellationError) {
        let tolerance = tolerance == .zero ? 0 : tolerance.clampedNanoseconds
        let elapsed =
            isCurrent
            ? await sleepHere(until: deadline, tolerance: tolerance)
            : await sleepElsewhere(until: deadline, tolerance: tolerance)
        if !elapsed { throw CancellationError() }
    }

    private nonisolated(nonsending) func sleepHere(until deadline: MonotonicInstant, tolerance: Int64) async -> Bool {
        let token = timers.reserve()
        return await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let timer = Timer.sleeper(continuation)
                if !timers.arm(token, deadline: deadline.nanoseconds, tolerance: tolerance, payload: timer) {
                    continuation.resume(returning: false)
                }
            }
        } onCancel: {
            if isCurrent { cancelSleep(token) } else { submit { self.cancelSleep(token) } }
        }
    }

    private nonisolated(nonsending) func sleepElsewhere(
        until deadline: MonotonicInstant, tolerance: Int64
    ) async -> Bool {
        // Both closures run on the loop's thread, in the order in which they were submitted or reversed.
        let sleep = RemoteSleep<TimerHeap<Timer>.Token>()
        return await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                submit { [self] in
                    guard !sleep.isCancelled else { return continuation.resume(returning: false) }
                    let token = timers.reserve()
                    sleep.token = token
                    _ = timers.arm(
                        token, deadline: deadline.nanoseconds, tolerance: tolerance, payload: .sleeper(continuation))
                }
            }
        } onCancel: {
            submit {
                sleep.isCancelled = true
                if let token = sleep.token { self.cancelSleep(token) }
            }
        }
    }

    fileprivate func cancelSleep(_ token: TimerHeap<Timer>.Token) {
        if case .disarmed(.sleeper(let continuation)) = timers.cancel(token) {
            continuation.resume(returning: false)
        }
    }

    /// The sleeps of one task that runs on one loop, one after the other: one handler of its cancellation serves them all.
    ///
    /// Sound as `@unchecked Sendable`: only the thread that runs the loop touches what changes; ``cancel()`` goes over to
    /// it.
    package final class Sleeper: @unchecked Sendable {
        private let loop: EventLoop
        private var token: TimerHeap<Timer>.Token?
        private var isCancelled = false

        /// - Parameter loop: The loop on whose thread the task runs whenever it sleeps.
        package init(on loop: EventLoop) {
            self.loop = loop
        }

        /// Whether the calling thread runs the loop.
        package var isCurrent: Bool { loop.isCurrent }

        /// Suspends the task until an instant. To be called on the loop's thread.
        ///
        /// - Returns: Whether it has been reached: `false` after ``cancel()``.
        package nonisolated(nonsending) func sleep(
            until deadline: MonotonicInstant, tolerance: Duration
        ) async -> Bool {
            loop.requireOwnThread("sleep")
            if isCancelled { return false }
            let tolerance = tolerance.clampedNanoseconds
            return await withUnsafeContinuation { continuation in
                let token = loop.timers.reserve()
                self.token = token
                _ = loop.timers.arm(
                    token, deadline: deadline.nanoseconds, tolerance: tolerance,
                    payload: .sleeper(continuation))
            }
        }

        /// Ends the present sleep and each later one at once. To be called when the task is cancelled, on any thread.
        package func cancel() {
            if loop.isCurrent { cancelHere() } else { loop.submit { self.cancelHere() } }
        }

        private func cancelHere() {
            isCancelled = true
            if let token { loop.cancelSleep(token) }
        }
    }

    /// Names a scheduled action.
    package struct ScheduledAction: Sendable {
        fileprivate let token: TimerHeap<Timer>.Token
    }

    /// Runs a closure on the loop's thread at an instant. To be called on the loop's thread.
    ///
    /// - Parameters:
    ///   - deadline: When to run it.
    ///   - action: What to run; it must not block.
    /// - Returns: A name by which it can be cancelled.
    @discardableResult
    package func schedule(at deadline: MonotonicInstant, _ action: @escaping @Sendable () -> Void) -> ScheduledAction {
        requireOwnThread("schedule")
        let token = timers.reserve()
        _ = timers.arm(token, deadline: deadline.nanoseconds, payload: .action(action))
        return ScheduledAction(token: token)
    }

    /// Cancels a scheduled action; one that has run is left alone. To be called on the loop's thread.
    package func cancel(_ scheduled: ScheduledAction) {
        requireOwnThread("cancel")
        _ = timers.cancel(scheduled.token)
    }

    /// How many timers wait. Exact on the loop's thread only.
    var timerCount: Int { timers.count }

    func requireOwnThread(_ function: String, orDetached: Bool = false) {
        precondition(
            isCurrent || (orDetached && !isRunning),
            "\(function) of the event loop '\(name)' was called on another thread")
    }
}

/// A second thread was to run an event loop that is already run.
package struct EventLoopBusyError: Error, Hashable, CustomStringConvertible {
    package let loop: String

    package init(loop: String) {
        self.loop = loop
    }

    package var description: String { "the event loop '\(loop)' is already run by another thread" }
}

/// Why a descriptor cannot be awaited.
package enum DescriptorError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kernel refused to watch the descriptor.
    case cannotWatch(descriptor: Int32, SystemError)

    package var description: String {
        switch self {
        case .cannotWatch(let descriptor, let error):
            "file descriptor \(descriptor) cannot be awaited: \(error)"
        }
    }
}

/// Observes an event loop. Called on the loop's thread, once a turn, so it must be quick.
package protocol EventLoopObserver: Sendable {
    /// A turn is over: the loop looks for due timers and ready descriptors again.
    ///
    /// - Parameters:
    ///   - nanoseconds: How long the turn took; nothing else could run meanwhile.
    ///   - jobs: How many task steps it ran.
    func turnEnded(nanoseconds: Int64, jobs: Int)
}
