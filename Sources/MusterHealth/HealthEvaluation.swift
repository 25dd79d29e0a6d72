// SPDX-License-Identifier: Apache-2.0

import MusterLock
package import MusterPlatform
import Synchronization

/// One request's wait for runs of asynchronous checks.
///
/// Each awaited run fills its hole in the report; a hole whose time is over is filled with a failure. The report is
/// handed over once, when no hole is left.
package final class HealthEvaluation: Sendable {
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

    init(entries: [HealthReport.Entry], completion: @escaping @Sendable ([HealthReport.Entry]) -> Void) {
        state = Locked(State(entries: entries, completion: completion))
    }

    /// Gives up: the completion is not called any more. What runs goes on for those who come later.
    package func cancel() {
        let timer = state.withLock { state in
            state.completion = nil
            return state.timer.take()
        }
        timer?.cancel()
    }

    /// Adds a hole. To be called before sealing only.
    func await(index: Int, until deadline: MonotonicInstant, timeout: Duration) {
        state.withLock { $0.holes.append(Hole(index: index, deadline: deadline, timeout: timeout)) }
    }

    /// Sets an entry that turned out to need no run. To be called before sealing only.
    func set(index: Int, _ entry: HealthReport.Entry) {
        state.withLock { $0.entries[index] = entry }
    }

    /// Fills a hole with a run's result, if it is still open.
    func fill(index: Int, _ entry: HealthReport.Entry) {
        finish { state in
            guard let hole = state.holes.firstIndex(where: { $0.index == index }) else { return }
            state.holes.remove(at: hole)
            state.entries[index] = entry
        }
    }

    /// Fills the holes whose time is over.
    func expire(at now: MonotonicInstant) {
        finish { state in
            for hole in state.holes where hole.deadline <= now {
                state.entries[hole.index] = HealthReport.Entry(
                    name: state.entries[hole.index].name, result: .timedOut(after: hole.timeout), instant: now)
            }
            state.holes.removeAll { $0.deadline <= now }
        }
    }

    /// Says that all holes are known, and starts the timer when some are open.
    func seal(clock: any RuntimeClock, executor: (any TaskExecutor)?) {
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
final class HealthRun: @unchecked Sendable {
    struct Waiter {
        let evaluation: HealthEvaluation
        let index: Int
    }

    let startedAt: MonotonicInstant
    var waiters: [Waiter] = []

    init(startedAt: MonotonicInstant) {
        self.startedAt = startedAt
    }
}

/// Delivers one result to the registry. A runner that drops a job without running it, for instance because its backend
/// is stopping, drops the ticket too, which ends the run.
final class HealthRunTicket: Sendable {
    private let isComplete = Atomic<Bool>(false)
    private let deliver: @Sendable (HealthResult) -> Void

    init(deliver: @escaping @Sendable (HealthResult) -> Void) {
        self.deliver = deliver
    }

    deinit {
        complete(.fail("check did not run: the backend dropped its job"))
    }

    /// Only the first result counts.
    func complete(_ result: HealthResult) {
        if !isComplete.exchange(true, ordering: .acquiringAndReleasing) { deliver(result) }
    }
}

/// The answers of all checks of one level at one time.
package struct HealthReport: Hashable, Sendable {
    /// One check's answer.
    package struct Entry: Hashable, Sendable {
        /// The check's name.
        package let name: String
        /// What it found; ``HealthResult/pass`` when it was excluded.
        package let result: HealthResult
        /// When the result was found; `nil` when there is none.
        package let instant: MonotonicInstant?
        /// Whether the request wished not to ask this check.
        package let isExcluded: Bool

        init(name: String, result: HealthResult, instant: MonotonicInstant? = nil, isExcluded: Bool = false) {
            self.name = name
            self.result = result
            self.instant = instant
            self.isExcluded = isExcluded
        }
    }

    /// What was asked for.
    package let level: HealthLevel
    /// The checks' answers, in the order of their registration.
    package let entries: [Entry]
    /// Names that were to be excluded but name no check of the level.
    package let unmatchedExclusions: [String]

    /// The worst of the entries that are not excluded.
    package var status: CheckState {
        entries.reduce(.pass) { $1.isExcluded ? $0 : $0.worse($1.result.state) }
    }

    /// Whether no check fails.
    package var isPassing: Bool { status != .fail }
}
