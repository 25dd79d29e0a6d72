// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform

/// A clock that stands still until it is told to move on.
final class ManualClock: RuntimeClock {
    private struct Sleeper {
        let identifier: Int
        let deadline: MonotonicInstant
        let continuation: UnsafeContinuation<Bool, Never>
        let loop: EventLoop?

        /// Resumes the task from its own thread: the thread sanitizer does not see what keeps a resumption from another
        /// one apart from a suspension that is not complete yet.
        func resume(returning hasElapsed: Bool) {
            guard let loop else { return continuation.resume(returning: hasElapsed) }
            loop.submit { continuation.resume(returning: hasElapsed) }
        }
    }

    private struct State {
        var now = MonotonicInstant(nanoseconds: 1_000_000_000_000)
        var sleepers: [Sleeper] = []
        var next = 0
        var cancelled: Set<Int> = []
    }

    private let state = Locked(State())

    /// Signalled whenever a task has gone to sleep.
    let sleep = Signal()
    /// Signalled whenever a sleep was cancelled.
    let cancellation = Signal()

    var now: MonotonicInstant { state.withLock { $0.now } }

    var sleeperCount: Int { state.withLock { $0.sleepers.count } }

    func sleep(until deadline: MonotonicInstant, tolerance: Duration) async throws(CancellationError) {
        let identifier = state.withLock { state in
            state.next += 1
            return state.next
        }
        let hasElapsed = await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let outcome: Bool? = state.withLock { state in
                    if state.cancelled.remove(identifier) != nil { return false }
                    if deadline <= state.now { return true }
                    state.sleepers.append(
                        Sleeper(
                            identifier: identifier, deadline: deadline, continuation: continuation,
                            loop: EventLoop.current))
                    return nil
                }
                if let outcome { continuation.resume(returning: outcome) }
                sleep.send()
            }
        } onCancel: {
            let sleeper: Sleeper? = state.withLock { state in
                guard let index = state.sleepers.firstIndex(where: { $0.identifier == identifier }) else {
                    state.cancelled.insert(identifier)
                    return nil
                }
                return state.sleepers.remove(at: index)
            }
            sleeper?.resume(returning: false)
            cancellation.send()
        }
        if !hasElapsed { throw CancellationError() }
    }

    func advance(by duration: Duration) {
        let due: [Sleeper] = state.withLock { state in
            state.now = state.now.advanced(by: duration)
            let due = state.sleepers.filter { $0.deadline <= state.now }
            state.sleepers.removeAll { $0.deadline <= state.now }
            return due
        }
        for sleeper in due { sleeper.resume(returning: true) }
    }
}
