// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterLock
public import MusterPlatform

/// A clock that stands still until the test moves it.
///
/// ```swift
/// let clock = ManualClock()
/// let backend = try TestBackend.make(.cooperative, clock: clock)
/// // … start a loop with an interval of one second …
/// await clock.sleepers(atLeast: 1)
/// clock.advance(by: .seconds(1))
/// ```
public final class ManualClock: RuntimeClock {
    private struct Sleeper {
        let deadline: MonotonicInstant
        let continuation: UnsafeContinuation<Bool, Never>
    }

    private struct Observer {
        let count: Int
        let reached: Completion<Void>
    }

    private struct State {
        var now: MonotonicInstant
        var lastTicket: UInt64 = 0
        var sleepers: [UInt64: Sleeper] = [:]
        var cancelledEarly: Set<UInt64> = []
        var observers: [Observer] = []
    }

    private enum Arrival {
        case asleep([Completion<Void>])
        case due
        case cancelled
    }

    private let state: Locked<State>

    /// Creates a clock.
    public init(now: MonotonicInstant = MonotonicInstant(nanoseconds: 1_000_000_000_000)) {
        state = Locked(State(now: now))
    }

    /// Where the clock stands.
    public var now: MonotonicInstant { state.withLock { $0.now } }

    /// The instants for which tasks sleep, the earliest first.
    public var deadlines: [MonotonicInstant] {
        state.withLock { state in state.sleepers.values.map(\.deadline).sorted() }
    }

    /// Suspends the calling task until the clock has been moved to an instant.
    ///
    /// - Parameters:
    ///   - deadline: When to go on; for an instant in the past others run first.
    ///   - tolerance: Not used: a test moves the clock to where it wants it.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(until deadline: MonotonicInstant, tolerance: Duration) async throws(CancellationError) {
        let ticket = state.withLock { state in
            state.lastTicket += 1
            return state.lastTicket
        }
        let wasDue = deadline <= now
        if wasDue { await Task.yield() }
        let elapsed = await withTaskCancellationHandler {
            await withUnsafeContinuation { (continuation: UnsafeContinuation<Bool, Never>) in
                switch arrive(Sleeper(deadline: deadline, continuation: continuation), ticket: ticket) {
                case .asleep(let reached): for observer in reached { observer.complete(with: ()) }
                case .due: continuation.resume(returning: true)
                case .cancelled: continuation.resume(returning: false)
                }
            }
        } onCancel: {
            cancel(ticket)?.resume(returning: false)
        }
        if !elapsed { throw CancellationError() }
    }

    private func arrive(_ sleeper: Sleeper, ticket: UInt64) -> Arrival {
        state.withLock { state in
            if state.cancelledEarly.remove(ticket) != nil { return .cancelled }
            if sleeper.deadline <= state.now { return .due }
            state.sleepers[ticket] = sleeper
            let count = state.sleepers.count
            let reached = state.observers.filter { $0.count <= count }.map(\.reached)
            state.observers.removeAll { $0.count <= count }
            return .asleep(reached)
        }
    }

    private func cancel(_ ticket: UInt64) -> UnsafeContinuation<Bool, Never>? {
        state.withLock { state in
            if let sleeper = state.sleepers.removeValue(forKey: ticket) { return sleeper.continuation }
            state.cancelledEarly.insert(ticket)
            return nil
        }
    }

    // MARK: In the test's hands

    /// Waits until a number of tasks sleep on the clock, or the calling task is cancelled.
    public func sleepers(atLeast count: Int) async {
        let reached = Completion<Void>()
        let isReached = state.withLock { state in
            if state.sleepers.count >= count { return true }
            state.observers.append(Observer(count: count, reached: reached))
            return false
        }
        // A test that is given up has nothing to wait for any more.
        if !isReached { try? await reached.wait() }
    }

    /// Moves the clock on, and wakes whoever slept until then, the earliest first.
    ///
    /// - Parameter duration: How far; a negative one changes nothing.
    public func advance(by duration: Duration) {
        advance(to: now.advanced(by: duration))
    }

    /// Moves the clock on, and wakes whoever slept until then, the earliest first.
    ///
    /// - Parameter instant: Where to; an instant in the past changes nothing.
    public func advance(to instant: MonotonicInstant) {
        let due = state.withLock { state in
            state.now = max(state.now, instant)
            let now = state.now
            let due = state.sleepers.filter { $0.value.deadline <= now }
            for ticket in due.keys { state.sleepers[ticket] = nil }
            return due.sorted { ($0.value.deadline, $0.key) < ($1.value.deadline, $1.key) }.map(\.value)
        }
        for sleeper in due { sleeper.continuation.resume(returning: true) }
    }

    /// Waits until somebody sleeps, and moves the clock to the earliest instant that somebody sleeps for.
    @discardableResult
    public func advanceToNextDeadline() async -> Duration {
        await sleepers(atLeast: 1)
        guard let next = deadlines.first else { return .zero }
        let before = now
        advance(to: next)
        return before.duration(to: next)
    }
}

/// A clock on which nobody waits: each sleep is written down, moves the clock on and is over.
public final class RecordedClock: RuntimeClock {
    private struct State {
        var now: MonotonicInstant
        var sleeps: [Duration] = []
    }

    private let state: Locked<State>

    /// Creates a clock.
    public init(now: MonotonicInstant = MonotonicInstant(nanoseconds: 1_000_000_000_000)) {
        state = Locked(State(now: now))
    }

    /// Where the clock stands.
    public var now: MonotonicInstant { state.withLock { $0.now } }

    /// How long the sleeps would have been, in the order in which they began; one until an instant in the past is
    /// zero long.
    public var sleeps: [Duration] { state.withLock { $0.sleeps } }

    /// Moves the clock on, as work that takes time does.
    ///
    /// - Parameter duration: How far; a negative one changes nothing.
    public func advance(by duration: Duration) {
        state.withLock { $0.now = max($0.now, $0.now.advanced(by: duration)) }
    }

    /// Writes the sleep down, moves the clock to its end, lets others run and returns.
    ///
    /// - Throws: `CancellationError` when the task is cancelled.
    public func sleep(until deadline: MonotonicInstant, tolerance: Duration) async throws(CancellationError) {
        if Task.isCancelled { throw CancellationError() }
        state.withLock { state in
            state.sleeps.append(max(.zero, state.now.duration(to: deadline)))
            state.now = max(state.now, deadline)
        }
        await Task.yield()
        if Task.isCancelled { throw CancellationError() }
    }
}
