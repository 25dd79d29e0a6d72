// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterLock
public import MusterPlatform

/// A clock that stands still until the test moves it.
///
/// ```swift
/// let clock = ManualClock()
/// try await TestBackend.with(.cooperative, clock: clock) { backend in
///     let loop = FixedIntervalLoopingCall(name: "refresh") { … }
///     try loop.start(interval: .seconds(1))
///     await clock.advance(by: .seconds(10))
///     #expect(backend.metrics.value("muster_loop_runs_total", ["loop": "refresh"]) == 11)
/// }
/// ```
///
/// ``advance(by:)`` runs what is due and returns when all is still: when no thread of a backend on this clock has
/// anything left to run. A job that blocks its thread, and work of `runBlocking`, are waited for. Not waited for is what
/// runs elsewhere: `Task {}` and `Task.detached {}`, `MainActor` code, actors with an executor of their own, the threads of
/// other libraries, and engines of your own. Wait for what these do by ``sleepers(atLeast:)`` or an event of the test's.
public final class ManualClock: RuntimeClock {
    private enum Waker {
        case task(UnsafeContinuation<Bool, Never>)
        case action(@Sendable () -> Void)

        func wake() {
            switch self {
            case .task(let continuation): continuation.resume(returning: true)
            case .action(let action): action()
            }
        }
    }

    private struct Observer {
        let count: Int
        let reached: Completion<Void>
    }

    private struct State {
        var now: MonotonicInstant
        var lastTicket: UInt64 = 0
        var sleepers: [UInt64: (deadline: MonotonicInstant, waker: Waker)] = [:]
        var cancelledEarly: Set<UInt64> = []
        var observers: [Observer] = []

        /// Takes out those that are due, in the order of their deadlines and, for one deadline, of their arrival.
        mutating func takeDue() -> [Waker] {
            let now = now
            let due = sleepers.filter { $0.value.deadline <= now }
            for ticket in due.keys { sleepers[ticket] = nil }
            return due.sorted { ($0.value.deadline, $0.key) < ($1.value.deadline, $1.key) }.map(\.value.waker)
        }
    }

    private enum Arrival {
        case asleep([Completion<Void>])
        case due
        case cancelled
    }

    package let activity = LoopActivity()
    package let lead = WallClock.lead
    private let state: Locked<State>

    /// Creates a clock.
    public init(now: MonotonicInstant = MonotonicInstant(nanoseconds: 1_000_000_000)) {
        state = Locked(State(now: now))
    }

    /// Where the clock stands.
    public var now: MonotonicInstant { state.withLock { $0.now } }

    /// The instants that tasks sleep for, the earliest first.
    public var deadlines: [MonotonicInstant] {
        state.withLock { state in state.sleepers.values.map(\.deadline).sorted() }
    }

    // MARK: Moving it

    /// Runs everything that is due within a duration, in the order of the deadlines, and what becomes due by that: a
    /// loop with an interval of 1 s that is advanced by 10 s runs ten times. Returns when all is still, with the clock at
    /// the end of the duration.
    ///
    /// A job that calls it is taken to be still meanwhile, so it may be used inside jobs, too.
    ///
    /// - Parameter duration: How far; zero runs what can run without the clock being moved.
    public nonisolated(nonsending) func advance(by duration: Duration) async {
        await advance(to: now.advanced(by: duration))
    }

    /// As ``advance(by:)``, to an instant; one in the past changes nothing but runs what can run.
    public nonisolated(nonsending) func advance(to instant: MonotonicInstant) async {
        await settle()
        while let due = step(to: instant) {
            for waker in due { waker.wake() }
            await settle()
        }
    }

    /// Moves the clock to the next deadline up to an instant, or to the instant when there is none.
    private func step(to instant: MonotonicInstant) -> [Waker]? {
        state.withLock { state in
            let next = state.sleepers.values.map(\.deadline).min()
            state.now = max(state.now, min(next ?? instant, instant))
            let due = state.takeDue()
            return due.isEmpty ? nil : due
        }
    }

    /// Waits until no event loop on this clock has anything to run.
    private nonisolated(nonsending) func settle() async {
        while !Task.isCancelled {
            let still = Completion<Void>()
            activity.whenStill { still.complete(with: ()) }
            // A test that is given up has nothing to wait for any more.
            _ = try? await still.wait()
            if activity.isStill || EventLoop.current != nil { return }
        }
    }

    /// Moves the clock at once, as a machine that stalls does, or work that takes time: what was due meanwhile wakes late.
    ///
    /// - Parameter duration: How far; a negative one changes nothing.
    public func stall(for duration: Duration) {
        let due = state.withLock { state in
            state.now = max(state.now, state.now.advanced(by: duration))
            return state.takeDue()
        }
        for waker in due { waker.wake() }
    }

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

    // MARK: Sleeping

    /// Suspends the calling task until the clock has been moved to an instant.
    ///
    /// - Parameters:
    ///   - deadline: When to go on; for an instant in the past others run first.
    ///   - tolerance: Not used: a test moves the clock to where it wants it.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(until deadline: MonotonicInstant, tolerance: Duration) async throws(CancellationError) {
        let ticket = nextTicket()
        let wasDue = deadline <= now
        if wasDue { await Task.yield() }
        let elapsed = await withTaskCancellationHandler {
            await withUnsafeContinuation { (continuation: UnsafeContinuation<Bool, Never>) in
                switch arrive(ticket, deadline, .task(continuation)) {
                case .asleep(let reached): for observer in reached { observer.complete(with: ()) }
                case .due: continuation.resume(returning: true)
                case .cancelled: continuation.resume(returning: false)
                }
            }
        } onCancel: {
            if case .task(let continuation) = cancel(ticket) { continuation.resume(returning: false) }
        }
        if !elapsed { throw CancellationError() }
    }

    private func nextTicket() -> UInt64 {
        state.withLock { state in
            state.lastTicket += 1
            return state.lastTicket
        }
    }

    private func arrive(_ ticket: UInt64, _ deadline: MonotonicInstant, _ waker: Waker) -> Arrival {
        state.withLock { state in
            if state.cancelledEarly.remove(ticket) != nil { return .cancelled }
            if deadline <= state.now { return .due }
            state.sleepers[ticket] = (deadline, waker)
            let count = state.sleepers.count
            let reached = state.observers.filter { $0.count <= count }.map(\.reached)
            state.observers.removeAll { $0.count <= count }
            return .asleep(reached)
        }
    }

    private func cancel(_ ticket: UInt64) -> Waker? {
        state.withLock { state in
            if let sleeper = state.sleepers.removeValue(forKey: ticket) { return sleeper.waker }
            state.cancelledEarly.insert(ticket)
            return nil
        }
    }
}

extension ManualClock: ManuallyMovedClock {
    package func schedule(
        at instant: MonotonicInstant, _ action: @escaping @Sendable () -> Void
    ) -> @Sendable () -> Void {
        let ticket = nextTicket()
        guard case .asleep(let reached) = arrive(ticket, instant, .action(action)) else {
            action()
            return {}
        }
        for observer in reached { observer.complete(with: ()) }
        return { [weak self] in self?.state.withLock { _ = $0.sleepers.removeValue(forKey: ticket) } }
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
    public func stall(for duration: Duration) {
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
