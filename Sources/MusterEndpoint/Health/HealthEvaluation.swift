// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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

    init(entries: [HealthReport.Entry], completion: @escaping @Sendable ([HealthReport.Entry]) -> Void) {
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
