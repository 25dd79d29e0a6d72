// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterExecution
import MusterLock
import MusterPlatform
import MusterSupervision
import Synchronization

/// Something to do again and again: on a schedule, in every worker or in one of them.
///
/// ```swift
/// try threadGroup.addPeriodicTasks([
///     PeriodicTask("clean", .every(.seconds(60))) { try await clean() },
///     PeriodicTask("report", try .daily(at: "03:00", in: "Europe/Berlin"), on: .oneWorker) { try await report() },
/// ])
/// ```
public struct PeriodicTask: Sendable {
    /// Which workers of a service run a task. A program in one process counts as the one worker, of slot 0.
    public enum Placement: Hashable, Sendable, CustomStringConvertible {
        /// Each of them, by itself.
        case everyWorker
        /// The one of a slot.
        case slot(Int)
        /// One at a time: it has a lease until its process ends, and the next one goes on where it was.
        case oneWorker

        /// For the status page.
        public var description: String {
            switch self {
            case .everyWorker: "every worker"
            case .slot(let slot): "slot \(slot)"
            case .oneWorker: "one worker"
            }
        }
    }

    /// The task's name, the value of the label `loop`.
    public let name: String
    /// When it runs.
    public let schedule: Schedule

    let placement: Placement
    let startsAtOnce: Bool
    let jitter: Duration
    let missed: MissedRuns
    let retry: RetryDelay?
    let isEnabled: Bool
    let isExternal: Bool
    let onFailure: (@Sendable (any Error, Int) async -> Void)?
    let body: @Sendable () async throws -> Void

    /// Describes a task.
    ///
    /// - Parameters:
    ///   - name: The task's name.
    ///   - schedule: When it runs.
    ///   - placement: Which workers run it.
    ///   - startsAtOnce: Whether it runs at the start as well; otherwise for the first time when the schedule says so.
    ///   - jitter: By how much each run is put off at most, at random.
    ///   - missed: What becomes of runs whose time has passed.
    ///   - retry: When it runs again after an error, in place of the schedule; as the schedule says when `nil`.
    ///   - isEnabled: Whether it is added at all.
    ///   - isExternal: Whether another program may run it in this one's place: where the setting
    ///     `muster.run-external-periodic-tasks` is false, it is not added.
    ///   - onFailure: Called after a run that failed, with the error and with how many have in a row.
    ///   - body: What to do; it throws `LoopingCallDone` to end the task for good.
    public init(
        _ name: String, _ schedule: Schedule = .every(.seconds(60)), on placement: Placement = .everyWorker,
        startsAtOnce: Bool = false, jitter: Duration = .zero, missed: MissedRuns = .skip, retry: RetryDelay? = nil,
        isEnabled: Bool = true, isExternal: Bool = false,
        onFailure: (@Sendable (any Error, Int) async -> Void)? = nil,
        _ body: @escaping @Sendable () async throws -> Void
    ) {
        self.name = name
        self.schedule = schedule
        self.placement = placement
        self.startsAtOnce = startsAtOnce
        self.jitter = jitter
        self.missed = missed
        self.retry = retry
        self.isEnabled = isEnabled
        self.isExternal = isExternal
        self.onFailure = onFailure
        self.body = body
    }

    /// Whether this process may have to run it, on a backend.
    func isMeant(for backend: Backend) -> Bool {
        guard isEnabled, !isExternal || backend.runsExternalTasks.load(ordering: .relaxed) else { return false }
        if case .slot(let slot) = placement { return slot == Worker.current?.slot ?? 0 }
        return true
    }

    /// Shows when it runs, and where; without that, it runs all the same.
    func describe(on backend: Backend) {
        do {
            try backend.metrics.info(
                "muster_periodic_task", help: "When a periodic task runs, and in which workers.",
                labels: [
                    ("backend", backend.type.rawValue), ("loop", name), ("schedule", "\(schedule)"),
                    ("runs_in", "\(placement)"),
                ])
        } catch {
            backend.logger.error(
                "schedule of periodic task is not exported", metadata: ["loop": "\(name)", "error": "\(error)"])
        }
    }

    func validate() throws(PeriodicTaskError) {
        guard !name.isEmpty, name.utf8.count <= TaskLeases.longestName, !name.contains(where: \.isNewline) else {
            throw .badName(name)
        }
        if case .interval(let step, _) = schedule.kind, step < 1_000_000 { throw .intervalTooShort(task: name) }
    }
}

/// Why a periodic task cannot be added.
public enum PeriodicTaskError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The name is empty, too long, or has a line end.
    case badName(String)
    /// An interval below 1 ms.
    case intervalTooShort(task: String)

    /// What was wrong, and what to do.
    public var description: String {
        switch self {
        case .badName(let name):
            "'\(name.prefix(40))' is no name of a periodic task: give 1 to \(TaskLeases.longestName) bytes in one line"
        case .intervalTooShort(let task): "periodic task '\(task)': its interval must be 1 ms or more"
        }
    }
}

/// The loop of a periodic task in this process.
///
/// Sound as `@unchecked Sendable` for its superclass' reason: it adds constants, and locked state.
final class PeriodicLoopingCall: LoopingCall, @unchecked Sendable {
    private let task: PeriodicTask
    private let lease: TaskLease
    private let clock: any RuntimeClock
    /// By how many nanoseconds the wall clock is ahead of that.
    private let lead: @Sendable () -> Int64
    /// The name of its record.
    private let key: String
    private let failures = Locked(0)
    private let past = Locked<PeriodicPlan.Past?>(nil)

    init(_ task: PeriodicTask, in group: String, backend: Backend) {
        self.task = task
        lease = backend.lease
        clock = backend.engine.clock
        if let fixed = (clock as? any ManuallyMovedClock)?.lead {
            lead = { fixed }
        } else {
            lead = { WallClock.lead }
        }
        key = TaskLeases.key(group: group, task: task.name)
        super.init(name: task.name, stallLimit: nil, backend: backend)
    }

    func start(limit: RunLimit?, in group: ThreadGroup?) throws {
        let plan = PeriodicPlan(
            task.schedule, startsAtOnce: task.startsAtOnce, jitter: task.jitter, missed: task.missed, retry: task.retry,
            past: { [past] in past.withLock { $0 } }, lead: lead)
        let before: (@Sendable () async throws -> Void)? = task.placement == .oneWorker ? awaitLease : nil
        try begin(
            plan, tolerance: nil, stopsOnError: false, in: group, limit: limit, before: before, run)
    }

    /// Returns once this worker is the one that runs the task.
    @Sendable private func awaitLease() async throws {
        let record = try await lease.hold()[key]
        guard let record else { return past.withLock { $0 = nil } }
        if record.state == .done { throw LoopingCallDone() }
        let isToBeRepeated = record.state == .running && record.attempts < TaskLease.mostAttempts
        past.withLock { $0 = PeriodicPlan.Past(began: record.began, isToBeRepeated: isToBeRepeated) }
    }

    @Sendable private func run() async throws {
        record(.running)
        do {
            try await task.body()
        } catch let done as LoopingCallDone {
            record(.done)
            throw done
        } catch {
            // One that is cut off is to be done again by the next worker, whatever error the body makes of that.
            if Task.isCancelled { throw error }
            record(.ended)
            let count = failures.withLock { count in
                count += 1
                return count
            }
            await task.onFailure?(error, count)
            throw error
        }
        failures.withLock { $0 = 0 }
        record(.ended)
    }

    private func record(_ state: TaskLeases.Record.State) {
        guard task.placement == .oneWorker else { return }
        lease.record(state, of: key, at: clock.now.nanoseconds &+ lead())
    }
}

/// How many of some loops' functions run at a time; the others wait in their order.
final class RunLimit: Sendable {
    private struct State {
        var free: Int
        var waiting: [(number: Int, turn: Completion<Void>)] = []
        var lastNumber = 0
    }

    private let state: Locked<State>

    init(_ count: Int) {
        state = Locked(State(free: max(1, count)))
    }

    /// - Throws: `CancellationError`.
    func enter() async throws {
        let turn = Completion<Void>()
        let number: Int? = state.withLock { state in
            if state.free > 0 {
                state.free -= 1
                return nil
            }
            state.lastNumber += 1
            state.waiting.append((state.lastNumber, turn))
            return state.lastNumber
        }
        guard let number else { return }
        do {
            try await turn.wait()
        } catch {
            let hasTurn = state.withLock { state in
                guard let place = state.waiting.firstIndex(where: { $0.number == number }) else { return true }
                state.waiting.remove(at: place)
                return false
            }
            if hasTurn { leave() }
            throw error
        }
    }

    func leave() {
        let next: Completion<Void>? = state.withLock { state in
            guard !state.waiting.isEmpty else {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst().turn
        }
        next?.complete(with: ())
    }
}

/// The lease of the tasks that run once over all workers of a service, as a backend has it: from the start in one
/// process, and when the supervisor gives it in a worker.
final class TaskLease: Sendable {
    /// After so many runs that ended with their worker, the next one waits for its time.
    static let mostAttempts = 3

    private struct State {
        var send: (@Sendable (ControlMessage) -> Void)?
        var hasAsked = false
        /// By ``TaskLeases/key(group:task:)``: what this process knows better than the lease did when it was given.
        var records: [String: TaskLeases.Record] = [:]
    }

    private let state = Locked(State())
    private let granted = Completion<[String: TaskLeases.Record]>()

    /// The backend is a worker's, and has to ask.
    func connect(_ send: @escaping @Sendable (ControlMessage) -> Void) {
        state.withLock { $0.send = send }
    }

    /// Returns once this process has the lease, with what is known of the tasks.
    func hold() async throws -> [String: TaskLeases.Record] {
        let (send, isFirst) = state.withLock { state in
            defer { state.hasAsked = true }
            return (state.send, !state.hasAsked)
        }
        var records: [String: TaskLeases.Record] = [:]
        if let send {
            if isFirst { send(.seekLease) }
            records = try await granted.wait()
        }
        return records.merging(state.withLock { $0.records }) { _, own in own }
    }

    func grant(_ records: String) {
        granted.complete(with: TaskLeases.decode(records))
    }

    /// - Parameter now: Nanoseconds of the wall clock, as the task's clock has it.
    func record(_ runState: TaskLeases.Record.State, of task: String, at now: Int64) {
        let send = state.withLock { state in
            let began = runState == .running ? now : state.records[task]?.began ?? now
            state.records[task] = TaskLeases.Record(state: runState, began: began, attempts: 1)
            return state.send
        }
        send?(.taskRun(runState, task: task))
    }
}
