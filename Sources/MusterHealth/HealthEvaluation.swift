// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform
import Synchronization

/// One request's wait for runs of asynchronous checks.
///
/// Each awaited run fills its hole in the report; a hole whose time is over is filled with a failure. The report is
/// handed over once, when no hole is left.
public final class HealthEvaluation: Sendable {
    private struct Hole {
        var index: Int
        var deadline: MonotonicInstant
        var timeout: Duration
    }

    private struct State {
        var entries: [HealthReport.Entry]
        var holes: [Hole] = []
        var isSealed = false
        var completion: (@Sendable ([HealthReport.Entry]) -> Void)?
        var timer: Task<Void, Never>?
    }

    private let state: Locked<State>

    package init(entries: [HealthReport.Entry], completion: @escaping @Sendable ([HealthReport.Entry]) -> Void) {
        state = Locked(State(entries: entries, completion: completion))
    }

    /// Gives up: the completion is not called any more. What runs goes on for those who come later.
    public func cancel() {
        let timer = state.withLock { state in
            state.completion = nil
            return state.timer.take()
        }
        timer?.cancel()
    }

    /// Adds a hole. To be called before sealing only.
    package func await(index: Int, until deadline: MonotonicInstant, timeout: Duration) {
        state.withLock { $0.holes.append(Hole(index: index, deadline: deadline, timeout: timeout)) }
    }

    /// Sets an entry that turned out to need no run. To be called before sealing only.
    package func set(index: Int, _ entry: HealthReport.Entry) {
        state.withLock { $0.entries[index] = entry }
    }

    /// Fills a hole with a run's result, if it is still open.
    package func fill(index: Int, _ entry: HealthReport.Entry) {
        finish { state in
            guard let hole = state.holes.firstIndex(where: { $0.index == index }) else { return }
            state.holes.remove(at: hole)
            state.entries[index] = entry
        }
    }

    /// Fills the holes whose time is over.
    package func expire(at now: MonotonicInstant) {
        finish { state in
            for hole in state.holes where hole.deadline <= now {
                state.entries[hole.index] = HealthReport.Entry(
                    name: state.entries[hole.index].name, result: .timedOut(after: hole.timeout), instant: now)
            }
            state.holes.removeAll { $0.deadline <= now }
        }
    }

    /// Says that all holes are known, and starts the timer when some are open.
    package func seal(clock: any RuntimeClock, executor: (any TaskExecutor)?) {
        finish { $0.isSealed = true }
        guard nextDeadline != nil else { return }
        // Not on the global pool, which may be blocked: this is what such blocking is found by.
        let timer = Task(executorPreference: executor ?? EventLoop.auxiliary) { [self] in
            while let deadline = nextDeadline {
                do {
                    try await clock.sleep(until: deadline)
                } catch {
                    return
                }
                expire(at: clock.now)
            }
        }
        let isOver = state.withLock { state in
            guard state.completion != nil else { return true }
            state.timer = timer
            return false
        }
        if isOver { timer.cancel() }
    }

    private var nextDeadline: MonotonicInstant? {
        state.withLock { state in
            guard state.completion != nil else { return nil }
            return state.holes.map(\.deadline).min()
        }
    }

    private func finish(_ change: (inout State) -> Void) {
        let (completion, entries, timer) = state.withLock { state in
            change(&state)
            guard state.isSealed, state.holes.isEmpty else {
                return (
                    nil as (@Sendable ([HealthReport.Entry]) -> Void)?, [] as [HealthReport.Entry],
                    nil as Task<Void, Never>?
                )
            }
            return (state.completion.take(), state.entries, state.timer.take())
        }
        timer?.cancel()
        completion?(entries)
    }
}

/// One run of an asynchronous check, and who waits for it.
///
/// Sound as `@unchecked Sendable`: `waiters` is touched only under the registry's lock, the rest is immutable.
package final class HealthRun: @unchecked Sendable {
    package struct Waiter {
        let evaluation: HealthEvaluation
        let index: Int
    }

    package let startedAt: MonotonicInstant
    package var waiters: [Waiter] = []

    package init(startedAt: MonotonicInstant) {
        self.startedAt = startedAt
    }
}

/// Owes the registry a result. A runner that lets go of a job without running it, because its backend is stopping
/// for instance, lets go of the ticket too, and so the run ends instead of being under way for ever.
package final class HealthRunTicket: Sendable {
    private let isPaid = Atomic<Bool>(false)
    private let pay: @Sendable (HealthResult) -> Void

    package init(pay: @escaping @Sendable (HealthResult) -> Void) {
        self.pay = pay
    }

    deinit {
        settle(.fail("the check was not run: its job was dropped"))
    }

    /// Hands over the result; only the first one counts.
    package func settle(_ result: HealthResult) {
        if !isPaid.exchange(true, ordering: .acquiringAndReleasing) { pay(result) }
    }
}

/// The answers of all checks of one level at one time.
public struct HealthReport: Hashable, Sendable {
    /// The whole report's verdict.
    public enum Status: String, Sendable {
        /// All checks pass.
        case pass
        /// All checks pass, some with a warning.
        case warn
        /// At least one check fails.
        case fail
    }

    /// One check's answer.
    public struct Entry: Hashable, Sendable {
        /// The check's name.
        public let name: String
        /// What it found; ``HealthResult/pass`` when it was excluded.
        public let result: HealthResult
        /// When the result was found; `nil` when there is none.
        public let instant: MonotonicInstant?
        /// Whether the request wished not to ask this check.
        public let isExcluded: Bool

        init(name: String, result: HealthResult, instant: MonotonicInstant? = nil, isExcluded: Bool = false) {
            self.name = name
            self.result = result
            self.instant = instant
            self.isExcluded = isExcluded
        }
    }

    /// What was asked for.
    public let level: HealthLevel
    /// The checks' answers, in the order of their registration.
    public let entries: [Entry]
    /// Names that were to be excluded but name no check of the level.
    public let unmatchedExclusions: [String]

    /// The verdict: the worst of the entries that are not excluded.
    public var status: Status {
        var status = Status.pass
        for entry in entries {
            switch entry.result {
            case .pass: continue
            case .warn: status = .warn
            case .fail: return .fail
            }
        }
        return status
    }

    /// Whether no check fails.
    public var isPassing: Bool { status != .fail }
}
