// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// A fixed grid on the monotonic clock: start n is due at origin + n * interval, whatever became of start n - 1.
struct FixedIntervalPlan: LoopPlan {
    typealias Output = Void

    /// Up to how much lateness ``OverrunPolicy/delay`` makes up for. A machine that is busy for a moment moves no
    /// grid that way, and one that has stood still for an hour makes no hour's worth of runs.
    private static let longestMadeUp: Int64 = 1_000_000_000

    private let step: Int64
    private let initialDelay: Duration
    private let policy: OverrunPolicy
    private var due = MonotonicInstant(nanoseconds: 0)
    private var began = MonotonicInstant(nanoseconds: 0)
    private var slipped: Int64 = 0

    /// Creates the plan.
    ///
    /// - Parameters:
    ///   - interval: The time between two starts; positive.
    ///   - initialDelay: The time before the first.
    ///   - policy: What happens after an overrun.
    init(interval: Duration, initialDelay: Duration, policy: OverrunPolicy) {
        step = max(1, interval.clampedNanoseconds)
        self.initialDelay = initialDelay
        self.policy = policy
    }

    var interval: Duration? { .nanoseconds(step) }
    var drift: Duration { .nanoseconds(slipped) }

    mutating func begin(at now: MonotonicInstant) -> MonotonicInstant {
        due = now.advanced(by: max(.zero, initialDelay))
        slipped = 0
        return due
    }

    mutating func runBegan(at now: MonotonicInstant) -> LoopRunStart {
        let late = max(0, now.nanoseconds - due.nanoseconds)
        let lateness: Duration
        var skipped = 0
        began = now
        switch policy {
        case .skip where late >= step:
            // It woke on or after a later point of the grid: that one is the start, and those before it are gone.
            skipped = Int(late / step)
            due.nanoseconds += Int64(skipped) * step
            lateness = .nanoseconds(now.nanoseconds - due.nanoseconds)
        case .delay where late >= step && late > Self.longestMadeUp:
            // The grid goes on from here.
            lateness = .nanoseconds(late)
            slipped += late
            due = now
        case .burst, .delay, .skip:
            lateness = .nanoseconds(now.nanoseconds - due.nanoseconds)
        }
        return LoopRunStart(
            lateness: lateness, skipped: skipped, nextDue: due.advanced(by: .nanoseconds(step)))
    }

    mutating func runEnded(at now: MonotonicInstant, output: Void?) -> LoopRunEnd {
        // An interval of centuries must not overflow the clock.
        due = due.advanced(by: .nanoseconds(step))
        let over = now.nanoseconds - due.nanoseconds
        guard over > 0 else { return LoopRunEnd(due: due) }
        // A run that began after this point and was short is one of those made up for.
        guard began <= due || began.duration(to: now) > .nanoseconds(step) else { return LoopRunEnd(due: due) }
        switch policy {
        case .burst:
            return LoopRunEnd(due: due, overrun: .nanoseconds(over))
        case .delay:
            slipped += over
            due = now
            return LoopRunEnd(due: due, overrun: .nanoseconds(over))
        case .skip:
            let missed = (over + step - 1) / step
            due.nanoseconds += missed * step
            return LoopRunEnd(due: due, overrun: .nanoseconds(over), skipped: Int(missed))
        }
    }
}
