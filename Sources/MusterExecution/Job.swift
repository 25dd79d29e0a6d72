// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// One unit of concurrent work: a Swift task on the thread or threads of an engine.
///
/// Upstream: `Thread` of `oslo_service.threadgroup`. Cancelling, waiting and linking work on both backends.
public final class Job: Sendable {
    private struct State {
        var phase = JobState.queued
        var isCancelled = false
        var task: Task<Void, Never>?
    }

    /// A number that no other job of the process has.
    public let id: UInt64
    /// The name given when it was spawned.
    public let name: String
    /// The group it was spawned for.
    public let group: String?

    private let ledger: JobLedger
    private let life = Locked(State())
    private let completion = Completion<JobOutcome>()

    init(id: UInt64, name: String, group: String?, ledger: JobLedger) {
        self.id = id
        self.name = name
        self.group = group
        self.ledger = ledger
    }

    /// The job whose code is running: also in its child tasks and in `Task {}`s that it started.
    @TaskLocal public static var current: Job?

    /// Where the job is in its life.
    public var state: JobState { life.withLock { $0.phase } }

    /// How the job ended, once it has.
    public var outcome: JobOutcome? { completion.value }

    /// Asks the job to end: its task is cancelled, which ends every sleep and wait of the runtime in it. The body of
    /// a job that has not started never runs.
    public func cancel() {
        let task: Task<Void, Never>? = life.withLock { state in
            guard !state.isCancelled, state.phase != .finished else { return nil }
            state.isCancelled = true
            // Under this lock, as every move is: the ledger hears of a job's moves in their order.
            ledger.moved(from: state.phase, to: .stopping)
            state.phase = .stopping
            return state.task
        }
        task?.cancel()
    }

    /// Waits until the job is over.
    ///
    /// - Parameters:
    ///   - deadline: The latest instant; `nil` waits without end.
    ///   - clock: The clock of the deadline.
    /// - Returns: How it ended.
    /// - Throws: ``TimeLimitExceeded`` at the deadline; `CancellationError` when the waiting task is cancelled.
    @discardableResult
    public func wait(
        until deadline: MonotonicInstant? = nil, clock: any RuntimeClock = SystemClock()
    ) async throws -> JobOutcome {
        try await completion.wait(until: deadline, clock: clock, operation: "job '\(name)'")
    }

    /// Runs a closure when the job is over, on the thread it ended on; at once when it is over already.
    ///
    /// The thread may have been promised to another job by then, so the closure should be brief.
    ///
    /// - Parameter callback: Called once, with how the job ended.
    public func link(_ callback: @escaping @Sendable (JobOutcome) -> Void) {
        completion.whenComplete(callback)
    }

    /// Takes up the job's task; cancels it when that was asked for in the meantime.
    func adopt(_ task: Task<Void, Never>) {
        let isCancelled = life.withLock { state in
            if state.phase != .finished { state.task = task }
            return state.isCancelled
        }
        if isCancelled { task.cancel() }
    }

    /// Runs the body.
    ///
    /// - Parameters:
    ///   - body: What the job does.
    ///   - release: Gives back the job's place. Called when the body is over and before anyone hears of it, so that
    ///     whoever waited for the end can have the place.
    func run(_ body: @Sendable () async throws -> Void, release: @Sendable () -> Void) async {
        let hasStarted = life.withLock { state in
            guard state.phase == .queued else { return false }
            ledger.moved(from: .queued, to: .running)
            state.phase = .running
            return true
        }
        var outcome = JobOutcome.finished
        do {
            guard hasStarted else { throw CancellationError() }
            try await body()
        } catch is CancellationError where life.withLock({ $0.isCancelled }) {
            outcome = .cancelled
        } catch {
            outcome = .failed(error)
        }
        release()
        let waiting = life.withLock { state in
            defer {
                state.phase = .finished
                state.task = nil
            }
            return ledger.ended(self, from: state.phase, outcome: outcome)
        }
        completion.complete(with: outcome)
        for completion in waiting { completion.complete(with: ()) }
    }
}
