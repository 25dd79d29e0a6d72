// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform
import Testing

@testable import Muster

/// Upstream's oracles, and what it does not have.
@Suite("Plans of periodic tasks")
struct PeriodicPlanTests {
    private static func at(_ seconds: Double) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: Int64(seconds * 1e9))
    }

    private static func seconds(_ instant: MonotonicInstant) -> Double { Double(instant.nanoseconds) / 1e9 }

    private static func plan(
        _ schedule: Schedule, startsAtOnce: Bool = false, jitter: Duration = .zero, missed: MissedRuns = .skip,
        retry: RetryDelay? = nil, past: PeriodicPlan.Past? = nil, lead: Int64 = 0
    ) -> PeriodicPlan {
        PeriodicPlan(
            schedule, startsAtOnce: startsAtOnce, jitter: jitter, missed: missed, retry: retry, seed: 1, past: { past },
            lead: { lead })
    }

    @Test(
        "After a run from 2 to an end, an interval of 2 from each anchor",
        arguments: [
            (Schedule.Anchor.start, 3.0, 4.0), (.end, 3.0, 5.0), (.clock, 3.0, 4.0), (.clock, 5.0, 6.0),
            (.start, 5.0, 6.0),
        ])
    func strategies(anchor: Schedule.Anchor, end: Double, next: Double) {
        var plan = Self.plan(.every(.seconds(2), from: anchor))
        #expect(Self.seconds(plan.begin(at: Self.at(0))) == 2)
        _ = plan.runBegan(at: Self.at(2))
        #expect(Self.seconds(plan.runEnded(at: Self.at(end), output: ()).due) == next)
    }

    @Test(
        "The nearest boundary: a late run keeps the phase",
        arguments: [(10.0, 7.0, 19.0, 24.0), (13, 7, 28, 34), (781, 88, 1841, 1925)])
    func boundary(last: Double, spacing: Double, now: Double, next: Double) {
        var plan = Self.plan(.every(.seconds(spacing)), startsAtOnce: true)
        _ = plan.begin(at: Self.at(last))
        _ = plan.runBegan(at: Self.at(last))
        _ = plan.runEnded(at: Self.at(last), output: ())
        let start = plan.runBegan(at: Self.at(now))
        #expect(Self.seconds(plan.runEnded(at: Self.at(now), output: ()).due) == next)
        #expect(start.skipped == Int((now - last) / spacing) - 1)
    }

    @Test("A task of spacing 9 has run floor(t / 9) times")
    func count() {
        var plan = Self.plan(.every(.seconds(9)))
        var due = Self.seconds(plan.begin(at: Self.at(0)))
        for second in 0...200 {
            while due <= Double(second) {
                _ = plan.runBegan(at: Self.at(Double(second)))
                due = Self.seconds(plan.runEnded(at: Self.at(Double(second)), output: ()).due)
            }
            #expect(due == Double((second / 9 + 1) * 9))
        }
    }

    @Test("Missed runs are left out, made up for by one, or by as many", arguments: MissedRuns.allCases)
    func missed(policy: MissedRuns) {
        var plan = Self.plan(.every(.seconds(10)), startsAtOnce: true, missed: policy)
        _ = plan.begin(at: Self.at(0))
        _ = plan.runBegan(at: Self.at(0))
        // It has lasted over 10, 20, 30, 40 and 50.
        var end = plan.runEnded(at: Self.at(55), output: ())
        #expect(end.overrun == .seconds(45))
        var count = 1
        var left = end.skipped
        while Self.seconds(end.due) <= 55 {
            left += plan.runBegan(at: Self.at(55)).skipped
            end = plan.runEnded(at: Self.at(55), output: ())
            count += 1
        }
        #expect(Self.seconds(end.due) == 60)
        #expect(count == (policy == .skip ? 1 : policy == .runOnce ? 2 : 6))
        #expect(left == (policy == .skip ? 5 : policy == .runOnce ? 4 : 0))
    }

    @Test("At most 1000 missed runs in a row are made up for")
    func mostMadeUp() {
        var plan = Self.plan(.every(.seconds(1), from: .clock), missed: .runAll)
        #expect(Self.seconds(plan.begin(at: Self.at(0))) == 1)
        _ = plan.runBegan(at: Self.at(1))
        // As if the clock had been set.
        var end = plan.runEnded(at: Self.at(1e6), output: ())
        var count = 0
        while Self.seconds(end.due) <= 1e6, count < 2000 {
            #expect(plan.runBegan(at: Self.at(1e6)).skipped == 0)
            end = plan.runEnded(at: Self.at(1e6), output: ())
            count += 1
        }
        #expect(count == 1000)
        #expect(Self.seconds(end.due) == 1e6 + 1)
        #expect(end.skipped == 1000, "counted up to the limit")
    }

    @Test("Jitter puts single runs off, and never the grid")
    func jitter() {
        var plan = Self.plan(.every(.seconds(100)), jitter: .seconds(5))
        var due = Self.seconds(plan.begin(at: Self.at(0)))
        var offsets: Set<Double> = []
        for round in 1...50 {
            let grid = Double(round) * 100
            #expect((grid...(grid + 5)).contains(due))
            offsets.insert(due - grid)
            #expect(plan.runBegan(at: Self.at(due)).lateness == .zero)
            due = Self.seconds(plan.runEnded(at: Self.at(due), output: ()).due)
        }
        #expect(offsets.count > 40)
    }

    @Test("Errors are followed by retries that come later and later, until one succeeds")
    func retry() {
        var plan = Self.plan(
            .every(.seconds(3600)), startsAtOnce: true, retry: RetryDelay(from: .seconds(1), to: .seconds(5)))
        _ = plan.begin(at: Self.at(0))
        var now = 0.0
        for delay in [1.0, 2, 4, 5, 5] {
            _ = plan.runBegan(at: Self.at(now))
            let due = Self.seconds(plan.runEnded(at: Self.at(now), output: nil).due)
            #expect(due == now + delay)
            now = due
        }
        _ = plan.runBegan(at: Self.at(now))
        #expect(Self.seconds(plan.runEnded(at: Self.at(now), output: ()).due) == 3600)
    }

    @Test("A wall clock that is set back or forth moves the next run, at the latest after a nap")
    func steps() throws {
        // The wall clock says 00:00 of a day at the start.
        let midnight: Int64 = 1_767_225_600_000_000_000
        let lead = Locked(midnight)
        var plan = PeriodicPlan(try .daily(at: "03:00"), lead: { lead.withLock { $0 } })
        var due = plan.begin(at: Self.at(0))
        #expect(Self.seconds(due) == 600, "a nap")
        #expect(plan.nextRun.map(Self.seconds) == 10_800, "what is shown")
        var naps = 0
        while let later = plan.postponed(at: due) {
            due = later
            naps += 1
        }
        #expect(Self.seconds(due) == 10_800)
        #expect(naps == 17)
        lead.withLock { $0 = midnight - 3_600_000_000_000 }
        #expect(plan.postponed(at: Self.at(10_800)).map(Self.seconds) == 11_400, "set back by an hour")
        lead.withLock { $0 = midnight + 3_600_000_000_000 }
        #expect(plan.postponed(at: Self.at(7200)) == nil, "set forward by an hour")
        #expect(plan.runBegan(at: Self.at(7200)).lateness == .zero)
    }

    @Test("A wall clock that was wrong by more than three hours stops nothing, once it is set back")
    func correction() throws {
        let midnight: Int64 = 1_767_225_600_000_000_000
        let lead = Locked(midnight + 30 * 86_400_000_000_000)
        var plan = PeriodicPlan(try .cron("* * * * *"), lead: { lead.withLock { $0 } })
        #expect(Self.seconds(plan.begin(at: Self.at(0))) == 60)
        #expect(plan.postponed(at: Self.at(60)) == nil)
        _ = plan.runBegan(at: Self.at(60))
        lead.withLock { $0 = midnight }
        let nap = plan.runEnded(at: Self.at(70), output: ()).due
        #expect(Self.seconds(nap) == 670, "it cannot know yet")
        #expect(plan.postponed(at: nap).map(Self.seconds) == 720)
        #expect(plan.nextRun.map(Self.seconds) == 720)
        #expect(plan.postponed(at: Self.at(720)) == nil)
        // By little, what has been shown does not come twice.
        lead.withLock { $0 -= 7_200_000_000_000 }
        #expect(plan.postponed(at: Self.at(720)).map(Self.seconds) == 1320)
        #expect(plan.nextRun.map(Self.seconds) == 7920)
    }

    @Test("What an earlier worker has done is gone on with")
    func past() {
        let hour = Schedule.every(.seconds(3600))
        func due(_ past: PeriodicPlan.Past?, _ missed: MissedRuns = .skip, now: Double = 10_000) -> Double {
            var plan = Self.plan(hour, missed: missed, past: past)
            return Self.seconds(plan.begin(at: Self.at(now)))
        }
        #expect(due(nil) == 13_600)
        #expect(due(.init(began: 9_000_000_000_000, isToBeRepeated: false)) == 12_600)
        #expect(due(.init(began: 9_000_000_000_000, isToBeRepeated: true)) == 10_000)
        #expect(due(.init(began: 5_000_000_000_000, isToBeRepeated: false)) == 12_200)
        #expect(due(.init(began: 5_000_000_000_000, isToBeRepeated: false), .runOnce) == 10_000)
        #expect(due(.init(began: 2_800_000_000_000, isToBeRepeated: false), .runAll) == 6400)
        // The wall clock has been set back since.
        #expect(due(.init(began: 99_000_000_000_000, isToBeRepeated: false)) == 13_600)
    }

    @Test("Each run that was missed while no worker had the task can be made up for")
    func missedByWorker() {
        var plan = Self.plan(
            .every(.seconds(60)), missed: .runAll, past: .init(began: 400_000_000_000, isToBeRepeated: false))
        var due = Self.seconds(plan.begin(at: Self.at(1000)))
        var lateness: [Duration] = []
        while due <= 1000 {
            lateness.append(plan.runBegan(at: Self.at(1000)).lateness)
            due = Self.seconds(plan.runEnded(at: Self.at(1000), output: ()).due)
        }
        #expect(lateness == stride(from: 540, through: 0, by: -60).map { .seconds($0) })
        #expect(due == 1060)
    }
}
