// SPDX-License-Identifier: Apache-2.0

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
}

/// When one loop is expected to move on: start its next run, or be done with the present one.
final class LoopProgress: Sendable {
    let loop: String
    let stallLimit: Duration?
    private let instant: Atomic<Int64>
    private let deadline = Locked<(cell: DeadlineCell, limit: Duration)?>(nil)

    init(loop: String, stallLimit: Duration?, expected: MonotonicInstant) {
        self.loop = loop
        self.stallLimit = stallLimit
        instant = Atomic(expected.nanoseconds)
    }

    var expected: MonotonicInstant {
        get { MonotonicInstant(nanoseconds: instant.load(ordering: .relaxed)) }
        set {
            instant.store(newValue.nanoseconds, ordering: .relaxed)
            deadline.withLock { deadline in
                if let (cell, limit) = deadline { cell.set(newValue.advanced(by: limit).nanoseconds) }
            }
        }
    }

    /// Shows a supervisor from when on the loop counts as hung. Where there is no room, only this process' own probe
    /// notices.
    func publish(to signs: VitalSignsWriter, limit: Duration) {
        guard let cell = signs.allocateDeadline() else { return }
        deadline.withLock { $0 = (cell, stallLimit ?? limit) }
        expected = expected
    }

    func withdraw() {
        // The cell is given back when nobody holds it.
        deadline.withLock { $0 = nil }
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
}
