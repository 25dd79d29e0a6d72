// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterPlatform

/// One life of a looping call, from a start to its end.
final class LoopRun: Sendable {
    private enum Phase {
        case waiting
        case running
        case ended
    }

    private struct State {
        var phase = Phase.waiting
        var isStopping = false
        var job: Job?
    }

    let completion = Completion<Result<LoopEnd, any Error>>()
    private let state = Locked(State())

    /// Whether the loop is to go on; the loop is waiting from then on.
    func mayWait() -> Bool { enter(.waiting) }

    /// Whether the loop is to go on; its function is running from then on, and a stop lets it finish.
    func mayRun() -> Bool { enter(.running) }

    private func enter(_ phase: Phase) -> Bool {
        state.withLock { state in
            guard !state.isStopping else { return false }
            state.phase = phase
            return true
        }
    }

    /// Whether a stop was asked for.
    var isStopping: Bool { state.withLock { $0.isStopping } }

    /// The loop's job.
    var job: Job? { state.withLock { $0.job } }

    func adopt(_ job: Job) {
        let mustCancel = state.withLock { state in
            guard state.phase != .ended else { return false }
            state.job = job
            return state.isStopping && state.phase == .waiting
        }
        if mustCancel { job.cancel() }
    }

    /// Ends the loop: at once while it waits, after the present run otherwise.
    func stop() {
        let job: Job? = state.withLock { state in
            guard !state.isStopping else { return nil }
            state.isStopping = true
            return state.phase == .waiting ? state.job : nil
        }
        job?.cancel()
    }

    func end(_ result: Result<LoopEnd, any Error>) {
        state.withLock { state in
            state.phase = .ended
            state.job = nil
        }
        completion.complete(with: result)
    }
}
