// SPDX-License-Identifier: Apache-2.0

extension EventLoop {
    /// Suspends the calling task until an instant.
    ///
    /// - Parameter deadline: When to go on.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(until deadline: MonotonicInstant) async throws(CancellationError) {
        let elapsed = isCurrent ? await sleepHere(until: deadline) : await sleepElsewhere(until: deadline)
        if !elapsed { throw CancellationError() }
    }

    private func sleepHere(until deadline: MonotonicInstant) async -> Bool {
        let token = timers.reserve()
        return await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                if !timers.arm(token, deadline: deadline.nanoseconds, payload: .sleeper(continuation)) {
                    continuation.resume(returning: false)
                }
            }
        } onCancel: {
            if isCurrent { cancelSleep(token) } else { submit { self.cancelSleep(token) } }
        }
    }

    private func sleepElsewhere(until deadline: MonotonicInstant) async -> Bool {
        // Both closures run on the loop's thread, in the order in which they were submitted or reversed.
        let sleep = RemoteSleep<TimerHeap<Timer>.Token>()
        return await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                submit { [self] in
                    guard !sleep.isCancelled else { return continuation.resume(returning: false) }
                    let token = timers.reserve()
                    sleep.token = token
                    _ = timers.arm(token, deadline: deadline.nanoseconds, payload: .sleeper(continuation))
                }
            }
        } onCancel: {
            submit {
                sleep.isCancelled = true
                if let token = sleep.token { self.cancelSleep(token) }
            }
        }
    }

    private func cancelSleep(_ token: TimerHeap<Timer>.Token) {
        if case .disarmed(.sleeper(let continuation)) = timers.cancel(token) {
            continuation.resume(returning: false)
        }
    }

    /// Names a scheduled action.
    public struct ScheduledAction: Sendable {
        fileprivate let token: TimerHeap<Timer>.Token
    }

    /// Runs a closure on the loop's thread at an instant. To be called on the loop's thread.
    ///
    /// - Parameters:
    ///   - deadline: When to run it.
    ///   - action: What to run; it must not block.
    /// - Returns: A name by which it can be cancelled.
    @discardableResult
    public func schedule(at deadline: MonotonicInstant, _ action: @escaping @Sendable () -> Void) -> ScheduledAction {
        requireOwnThread("schedule")
        let token = timers.reserve()
        _ = timers.arm(token, deadline: deadline.nanoseconds, payload: .action(action))
        return ScheduledAction(token: token)
    }

    /// Cancels a scheduled action; one that has run is left alone. To be called on the loop's thread.
    ///
    /// - Parameter scheduled: The action's name.
    public func cancel(_ scheduled: ScheduledAction) {
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
