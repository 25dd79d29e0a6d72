// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// What becomes of runs whose time has passed, because the run before was too long, the machine slept, or the worker that
/// had them to do has ended.
public enum MissedRuns: String, Hashable, Sendable, CaseIterable {
    /// They are left out.
    case skip
    /// One run makes up for all of them, at once.
    case runOnce
    /// Each is made up for, one after the other, up to 1000 in a row.
    case runAll
}

/// When a periodic task runs again after an error, in place of its schedule: after the first delay, then after twice as
/// much each time, until a run succeeds.
public struct RetryDelay: Hashable, Sendable {
    let first: Duration
    let longest: Duration

    /// Creates delays.
    ///
    /// - Parameters:
    ///   - first: The delay after the first error of a row.
    ///   - longest: The longest delay.
    public init(from first: Duration, to longest: Duration) {
        self.first = max(first, .milliseconds(1))
        self.longest = max(longest, self.first)
    }

    func delay(after failures: Int) -> Duration {
        var delay = first
        for _ in 1..<max(1, min(failures, 64)) where delay < longest { delay = min(delay * 2, longest) }
        return delay
    }
}

/// The runs of a periodic task. Its timeline is that of the monotonic clock for intervals, and the wall clock's for what
/// is aligned to that.
struct PeriodicPlan: LoopPlan {
    typealias Output = Void

    /// What is known of earlier runs, in this worker or another one.
    struct Past: Hashable, Sendable {
        /// When the last run began, in nanoseconds of the wall clock.
        var began: Int64
        /// Whether its worker has ended over it, so that it is to be done again.
        var isToBeRepeated: Bool
    }

    /// How long it sleeps at most before it looks at the wall clock again, which may have been set.
    static let longestNap = Duration.seconds(600)
    static let mostMissed = 1000
    /// A wall clock that is set back by more than this was wrong: what it has shown comes once more. As cron has it.
    private static let correction: Int64 = 3 * 3_600_000_000_000

    private let schedule: Schedule.Kind
    private let startsAtOnce: Bool
    private let jitter: Int64
    private let missed: MissedRuns
    private let retry: RetryDelay?
    private let past: @Sendable () -> Past?
    /// By how many nanoseconds the wall clock is ahead of the monotonic one.
    private let lead: @Sendable () -> Int64
    private var random: SplitMix64
    /// A point of the grid, for intervals from the start.
    private var origin: Int64 = 0
    /// The present run's place on the timeline, and by how much it is put off.
    private var scheduled: Int64 = 0
    private var offset: Int64 = 0
    private var failures = 0
    /// How many runs in a row have made up for missed ones.
    private var madeUp = 0
    /// The largest lead that the wall clock has had.
    private var largestLead: Int64 = 0

    init(
        _ schedule: Schedule, startsAtOnce: Bool = false, jitter: Duration = .zero, missed: MissedRuns = .skip,
        retry: RetryDelay? = nil, seed: UInt64 = .random(in: 0 ... .max),
        past: @escaping @Sendable () -> Past? = { nil },
        lead: @escaping @Sendable () -> Int64 = { WallClock.lead }
    ) {
        self.schedule = schedule.kind
        self.startsAtOnce = startsAtOnce
        self.jitter = max(0, jitter.clampedNanoseconds)
        self.missed = missed
        self.retry = retry
        self.past = past
        self.lead = lead
        random = SplitMix64(seed: seed)
    }

    var drift: Duration { .zero }

    var interval: Duration? {
        if case .interval(let step, _) = schedule { .nanoseconds(step) } else { nil }
    }

    var wakesEarly: Bool { isOnWallClock }

    var nextRun: MonotonicInstant? { isOnWallClock ? due : nil }

    private var isOnWallClock: Bool {
        switch schedule {
        case .interval(_, .clock), .cron: true
        case .interval: false
        }
    }

    private var isFromEnd: Bool { if case .interval(_, .end) = schedule { true } else { false } }

    private var shift: Int64 { isOnWallClock ? lead() : 0 }

    private func place(_ now: MonotonicInstant) -> Int64 { now.nanoseconds &+ shift }

    private func instant(_ place: Int64) -> MonotonicInstant {
        let (nanoseconds, overflow) = place.subtractingReportingOverflow(shift)
        return overflow || place == .max ? .distantFuture : MonotonicInstant(nanoseconds: nanoseconds)
    }

    /// The first place after another one.
    private func next(after place: Int64) -> Int64 {
        switch schedule {
        case .interval(let step, .end):
            return place.addingReportingOverflow(step).overflow ? .max : place + step
        case .interval(let step, let anchor):
            let start = anchor == .clock ? 0 : origin
            let steps = Int64((Double(place &- start) / Double(step)).rounded(.down))
            // The division is not exact for large numbers.
            for count in (steps - 1)...(steps + 2) {
                let (distance, overflow) = count.multipliedReportingOverflow(by: step)
                guard !overflow, !start.addingReportingOverflow(distance).overflow else { return .max }
                if start + distance > place { return start + distance }
            }
            return .max
        case .cron(let cron):
            let seconds = place >= 0 ? place / 1_000_000_000 : -((-place + 999_999_999) / 1_000_000_000)
            let (next, overflow) = (cron.next(after: seconds) ?? .max).multipliedReportingOverflow(by: 1_000_000_000)
            return overflow ? .max : next
        }
    }

    private var due: MonotonicInstant {
        instant(scheduled == .max ? .max : scheduled + offset)
    }

    private mutating func putOff() {
        offset = jitter > 0 ? Int64.random(in: 0...jitter, using: &random) : 0
    }

    mutating func begin(at now: MonotonicInstant) -> MonotonicInstant {
        origin = now.nanoseconds
        (failures, madeUp) = (0, 0)
        largestLead = lead()
        let present = place(now)
        putOff()
        if let past = past() {
            // The wall clock may have been set back since.
            let began = min(isOnWallClock ? past.began : past.began &- lead(), present)
            if past.isToBeRepeated {
                (scheduled, offset) = (present, 0)
            } else {
                // An interval goes on from the run before.
                if !isOnWallClock { origin = began }
                scheduled = next(after: began)
                if scheduled <= present {
                    switch missed {
                    case .skip: scheduled = next(after: present)
                    case .runOnce: (scheduled, offset) = (present, 0)
                    case .runAll: offset = 0
                    }
                }
            }
        } else if startsAtOnce {
            (scheduled, offset) = (present, 0)
        } else {
            scheduled = next(after: present)
        }
        return nap(from: now)
    }

    mutating func postponed(at now: MonotonicInstant) -> MonotonicInstant? {
        guard isOnWallClock else { return nil }
        let lead = lead()
        if lead < largestLead - Self.correction {
            scheduled = next(after: now.nanoseconds &+ lead)
            largestLead = lead
        }
        largestLead = max(largestLead, lead)
        return due > now ? nap(from: now) : nil
    }

    private func nap(from now: MonotonicInstant) -> MonotonicInstant {
        isOnWallClock ? min(due, now.advanced(by: Self.longestNap)) : due
    }

    mutating func runBegan(at now: MonotonicInstant) -> LoopRunStart {
        let present = place(now)
        var skipped = 0
        if missed != .runAll, !isFromEnd {
            // The latest one that has passed is this run.
            while skipped < Self.mostMissed, case let later = next(after: scheduled), later <= present,
                later > scheduled
            {
                scheduled = later
                skipped += 1
            }
        }
        return LoopRunStart(
            lateness: .nanoseconds(max(0, present - scheduled - offset)), skipped: skipped,
            nextDue: instant(next(after: max(scheduled, present))))
    }

    mutating func runEnded(at now: MonotonicInstant, output: Void?) -> LoopRunEnd {
        let present = place(now)
        if output == nil, let retry {
            failures += 1
            madeUp = 0
            scheduled = present &+ retry.delay(after: failures).clampedNanoseconds
            offset = 0
            return LoopRunEnd(due: nap(from: now))
        }
        failures = 0
        putOff()
        if isFromEnd {
            scheduled = next(after: present)
            return LoopRunEnd(due: nap(from: now))
        }
        let before = scheduled
        scheduled = next(after: before)
        guard scheduled <= present else {
            madeUp = 0
            return LoopRunEnd(due: nap(from: now))
        }
        madeUp += 1
        let over = Duration.nanoseconds(present - scheduled)
        switch missed == .runAll && madeUp > Self.mostMissed ? .skip : missed {
        case .runAll, .runOnce:
            // Where several are due, ``runBegan(at:)`` leaves out all but the last for ``MissedRuns/runOnce``.
            offset = 0
            return LoopRunEnd(due: now, overrun: over)
        case .skip:
            madeUp = 0
            var skipped = 0
            while scheduled <= present, skipped < Self.mostMissed {
                scheduled = next(after: scheduled)
                skipped += 1
            }
            if scheduled <= present { scheduled = next(after: present) }
            return LoopRunEnd(due: nap(from: now), overrun: over, skipped: skipped)
        }
    }
}
