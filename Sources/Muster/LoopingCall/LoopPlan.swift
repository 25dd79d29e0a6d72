// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterLock
import MusterPlatform
import MusterSupervision
import Synchronization

/// When a looping call runs: instants and results in, the next start out. Pure: no clock, no sleeping, no metrics.
protocol LoopPlan: Sendable {
    /// What the loop's function returns.
    associatedtype Output: Sendable

    /// The loop starts.
    ///
    /// - Returns: When the first run is due.
    mutating func begin(at now: MonotonicInstant) -> MonotonicInstant

    /// The loop has slept until a run is due.
    ///
    /// - Returns: Until when it is to sleep on, where it is not due yet after all.
    mutating func postponed(at now: MonotonicInstant) -> MonotonicInstant?

    /// A run begins.
    ///
    /// - Returns: How late it is, and how many runs were left out because of that.
    mutating func runBegan(at now: MonotonicInstant) -> LoopRunStart

    /// A run is over.
    ///
    /// - Parameters:
    ///   - now: The present instant.
    ///   - output: What the function returned; `nil` when it threw and the loop goes on.
    /// - Returns: When the next run is due.
    /// - Throws: What ends the loop.
    mutating func runEnded(at now: MonotonicInstant, output: Output?) throws -> LoopRunEnd

    /// How far the schedule has slipped from its ideal grid since the start.
    var drift: Duration { get }

    /// The time between two starts, where it is fixed.
    var interval: Duration? { get }

    /// Whether runs that fail make the delays longer.
    var backsOff: Bool { get }

    /// Whether the loop may be told to wake before a run is due.
    var wakesEarly: Bool { get }

    /// When the next run is due, where that may be later than the loop wakes.
    var nextRun: MonotonicInstant? { get }
}

// Inlined, as each run of each loop asks.
extension LoopPlan {
    var backsOff: Bool { false }

    @inline(__always) var wakesEarly: Bool { false }

    @inline(__always) var nextRun: MonotonicInstant? { nil }

    @inline(__always)
    func postponed(at now: MonotonicInstant) -> MonotonicInstant? { nil }
}

/// How one loop gets on: when it is expected to start its next run, or to be done with the present one, and the thread
/// that it has for itself.
///
/// A run that lasts is merely overdue: whatever it waits for, it blocks nothing. What makes a loop *stalled* is its
/// thread, which has been in one turn for too long, or the `stallLimit` that the application has given it. A thread that
/// all jobs share is watched on its own, not by the loops on it.
final class LoopProgress: Sendable {
    /// The loop whose run the calling task belongs to. Tasks and jobs that the run has started inherit it.
    @TaskLocal static var current: LoopProgress?

    let loop: String
    let stallLimit: Duration?
    /// The loop that the job's thread runs, unless other jobs run there as well.
    private let thread: EventLoop?
    private let job = Job.current?.id
    private let instant: Atomic<Int64>
    private let deadline = Locked<DeadlineCell?>(nil)
    /// The thread belongs to another job from then on.
    private let isOver = Atomic<Bool>(false)

    /// To be called on the loop's job.
    init(loop: String, stallLimit: Duration?, engine: any ExecutionEngine, expected: MonotonicInstant) {
        self.loop = loop
        self.stallLimit = stallLimit
        thread = engine.sharedExecutor == nil ? EventLoop.current : nil
        instant = Atomic(expected.nanoseconds)
    }

    var expected: MonotonicInstant {
        get { MonotonicInstant(nanoseconds: instant.load(ordering: .relaxed)) }
        set {
            instant.store(newValue.nanoseconds, ordering: .relaxed)
            guard let stallLimit else { return }
            deadline.withLock { $0?.set(newValue.advanced(by: stallLimit)) }
        }
    }

    /// Tells that the run waits on purpose until an instant: that is progress.
    static func waits(until instant: MonotonicInstant) {
        guard let current, current.job == Job.current?.id else { return }
        current.expected = instant
    }

    /// How the loop is stalled, if it is.
    ///
    /// - Parameters:
    ///   - limit: How long a turn of its thread may take.
    ///   - now: The present instant of the loop's clock.
    func stall(limit: Duration, at now: MonotonicInstant) -> LoopMonitor.Stall? {
        let late = expected.duration(to: now)
        if let stallLimit, late > stallLimit {
            return .init(loop: loop, cause: .overdue, by: late, limit: stallLimit)
        }
        guard let busy = thread?.busyTime(), busy > limit else { return nil }
        return .init(loop: loop, cause: .blocked, by: busy, limit: limit)
    }

    /// Shows a supervisor from when on the loop counts as hung. Where there is no room, only this process' own probe
    /// notices.
    func publish(to signs: VitalSignsWriter) {
        if stallLimit != nil, let cell = signs.allocateDeadline() {
            deadline.withLock { $0 = cell }
            expected = expected
        }
        guard thread != nil, let turns = signs.makeTurnPublisher() else { return }
        onThread { [self] thread in
            if !isOver.load(ordering: .relaxed) { thread.publishTurns(to: turns) }
        }
    }

    /// The loop has ended. To be called on its job.
    func withdraw() {
        isOver.store(true, ordering: .relaxed)
        // The cells are given back when nobody holds them.
        deadline.withLock { $0 = nil }
        onThread { $0.publishTurns(to: nil) }
    }

    private func onThread(_ action: @escaping @Sendable (EventLoop) -> Void) {
        guard let thread else { return }
        if thread.isCurrent { action(thread) } else { thread.submit { action(thread) } }
    }
}

/// The begin of a run.
struct LoopRunStart: Hashable, Sendable {
    /// Start minus scheduled start.
    var lateness: Duration
    /// Runs left out because the loop woke too late for them.
    var skipped = 0
    /// When the next run will be due at the latest, if this one goes well.
    var nextDue: MonotonicInstant
}

/// The end of a run.
struct LoopRunEnd: Hashable, Sendable {
    /// When the next run is due.
    var due: MonotonicInstant
    /// By how much the run has lasted beyond the next start, if it has.
    var overrun: Duration?
    /// Runs left out because this one has lasted too long.
    var skipped = 0
    /// How long the loop waits because runs fail.
    var backOff = Duration.zero
}

/// How a looping call ended, unless with an error.
public enum LoopEnd: Sendable {
    /// It was stopped.
    case stopped
    /// Its function threw ``LoopingCallDone`` with this value.
    case done(any Sendable)

    /// The value of ``LoopingCallDone``; `true` for a loop that was stopped, as upstream has it.
    public var value: any Sendable {
        switch self {
        case .stopped: true
        case .done(let value): value
        }
    }

    /// The value of ``LoopingCallDone`` in its type; for a loop that was stopped `true`, as upstream has it, or `nil`
    /// where that is not of the type.
    ///
    /// - Parameter type: The value's type, which the compiler often knows: `let rest: Int? = try end.value()`.
    /// - Throws: `LoopingCallError` when the loop ended with a value of another type.
    public func value<Value: Sendable>(as type: Value.Type = Value.self) throws -> Value? {
        switch self {
        case .stopped: return true as? Value
        case .done(let value):
            guard let typed = value as? Value else {
                throw LoopingCallError.otherValue(expected: "\(type)", found: "\(Swift.type(of: value))")
            }
            return typed
        }
    }
}
