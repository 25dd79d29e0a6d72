// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterTestSupport
import Testing

@testable import Muster

@Suite("When looping calls run")
struct LoopPlanTests {
    private let origin = MonotonicInstant(nanoseconds: 5_000_000_000)

    private func at(_ offset: Duration) -> MonotonicInstant { origin.advanced(by: offset) }

    private func plan(_ policy: OverrunPolicy, _ interval: Duration = .seconds(1)) -> FixedIntervalPlan {
        FixedIntervalPlan(interval: interval, initialDelay: .zero, policy: policy)
    }

    // MARK: The grid

    @Test("10,000 runs of random length and lateness keep the grid", arguments: OverrunPolicy.allCases)
    func grid(policy: OverrunPolicy) {
        var generator = SplitMix64(seed: 7)
        var plan = plan(policy, .milliseconds(10))
        var due = plan.begin(at: origin)
        for run in 0..<10_000 {
            #expect(due == at(.milliseconds(10 * run)))
            let late = Duration.nanoseconds(Int64.random(in: 0..<5_000_000, using: &generator))
            let start = plan.runBegan(at: due.advanced(by: late))
            #expect(start.lateness == late)
            let length = Duration.nanoseconds(Int64.random(in: 0...5_000_000, using: &generator))
            let end = plan.runEnded(at: due.advanced(by: late).advanced(by: length), output: ())
            #expect(end.overrun == nil)
            #expect(end.skipped == 0)
            due = end.due
        }
        #expect(plan.drift == .zero)
    }

    @Test("Runs that overrun never leave the grid", arguments: [OverrunPolicy.burst, .skip])
    func gridWithOverruns(policy: OverrunPolicy) {
        var generator = SplitMix64(seed: 11)
        var plan = plan(policy, .milliseconds(10))
        var now = origin
        var due = plan.begin(at: now)
        var overruns = 0
        var skipped = 0
        for _ in 0..<10_000 {
            now = max(now, due).advanced(by: .nanoseconds(Int64.random(in: 0..<20_000_000, using: &generator)))
            skipped += plan.runBegan(at: now).skipped
            now = now.advanced(by: .nanoseconds(Int64.random(in: 0..<15_000_000, using: &generator)))
            let end = plan.runEnded(at: now, output: ())
            if end.overrun != nil { overruns += 1 }
            skipped += end.skipped
            due = end.due
            #expect((due.nanoseconds - origin.nanoseconds) % 10_000_000 == 0)
            if policy == .skip { #expect(due >= now) }
        }
        #expect(overruns > 0)
        let runs = Int((due.nanoseconds - origin.nanoseconds) / 10_000_000)
        // Each point of the grid was run or is counted as skipped.
        #expect(runs - skipped == 10_000)
        if policy == .burst { #expect(skipped == 0) }
    }

    @Test("Lateness is negative for nobody, and an interval of centuries does not overflow")
    func longInterval() {
        var plan = plan(.delay, .seconds(Int64.max))
        let due = plan.begin(at: origin)
        #expect(plan.runBegan(at: due).nextDue == .distantFuture)
        #expect(plan.runEnded(at: at(.seconds(1)), output: ()).due == .distantFuture)
    }

    // MARK: Overruns

    @Test("After an overrun, burst makes up for each missed start", arguments: [1, 2, 10])
    func burst(intervals: Int) {
        var plan = plan(.burst)
        _ = plan.begin(at: origin)
        _ = plan.runBegan(at: origin)
        let over = Duration.seconds(intervals) + .milliseconds(500)
        var end = plan.runEnded(at: at(over), output: ())
        #expect(end == LoopRunEnd(due: at(.seconds(1)), overrun: over - .seconds(1), skipped: 0))
        for missed in 1...intervals {
            #expect(end.due == at(.seconds(missed)))
            let start = plan.runBegan(at: at(over))
            #expect(start.lateness == over - .seconds(missed))
            #expect(start.skipped == 0)
            end = plan.runEnded(at: at(over), output: ())
        }
        // Back on the grid.
        #expect(end == LoopRunEnd(due: at(.seconds(intervals + 1))))
        #expect(plan.drift == .zero)
    }

    @Test("After an overrun, delay starts at once and slips", arguments: [1, 2, 10])
    func delay(intervals: Int) {
        var plan = plan(.delay)
        _ = plan.begin(at: origin)
        _ = plan.runBegan(at: origin)
        let over = Duration.seconds(intervals) + .milliseconds(500)
        let end = plan.runEnded(at: at(over), output: ())
        #expect(end == LoopRunEnd(due: at(over), overrun: over - .seconds(1)))
        #expect(plan.drift == over - .seconds(1))
        _ = plan.runBegan(at: at(over))
        #expect(plan.runEnded(at: at(over), output: ()) == LoopRunEnd(due: at(over + .seconds(1))))
        #expect(plan.drift == over - .seconds(1))
        #expect(plan.begin(at: at(.seconds(100))) == at(.seconds(100)))
        #expect(plan.drift == .zero)
    }

    @Test("After an overrun, skip leaves the missed starts out", arguments: [1, 2, 10])
    func skip(intervals: Int) {
        var plan = plan(.skip)
        _ = plan.begin(at: origin)
        _ = plan.runBegan(at: origin)
        let over = Duration.seconds(intervals) + .milliseconds(500)
        let end = plan.runEnded(at: at(over), output: ())
        #expect(
            end
                == LoopRunEnd(
                    due: at(.seconds(intervals + 1)), overrun: over - .seconds(1), skipped: intervals))
        #expect(plan.drift == .zero)
    }

    @Test("A run that ends exactly at the next start has not overrun", arguments: OverrunPolicy.allCases)
    func exact(policy: OverrunPolicy) {
        var plan = plan(policy)
        _ = plan.begin(at: origin)
        _ = plan.runBegan(at: origin)
        #expect(plan.runEnded(at: at(.seconds(1)), output: ()) == LoopRunEnd(due: at(.seconds(1))))
    }

    @Test("An overrun of exactly one interval leaves one start out, and the next one is due at once")
    func skipExact() {
        var plan = plan(.skip)
        _ = plan.begin(at: origin)
        _ = plan.runBegan(at: origin)
        #expect(
            plan.runEnded(at: at(.seconds(2)), output: ())
                == LoopRunEnd(due: at(.seconds(2)), overrun: .seconds(1), skipped: 1))
    }

    @Test("Skip leaves out what it woke too late for, and tells that apart")
    func late() {
        var plan = plan(.skip)
        _ = plan.begin(at: origin)
        let start = plan.runBegan(at: at(.milliseconds(3200)))
        #expect(start.skipped == 3)
        #expect(start.lateness == .milliseconds(200))
        #expect(start.nextDue == at(.seconds(4)))
        #expect(plan.runEnded(at: at(.milliseconds(3300)), output: ()) == LoopRunEnd(due: at(.seconds(4))))
    }

    @Test("Burst and delay run although they are late", arguments: [OverrunPolicy.burst, .delay])
    func lateOthers(policy: OverrunPolicy) {
        var plan = plan(policy)
        _ = plan.begin(at: origin)
        let start = plan.runBegan(at: at(.milliseconds(3200)))
        #expect(start.skipped == 0)
        #expect(start.lateness == .milliseconds(3200))
        // What slips the schedule is not a run that lasts too long.
        #expect(plan.drift == (policy == .delay ? .milliseconds(3200) : .zero))
        let end = plan.runEnded(at: at(.milliseconds(3300)), output: ())
        #expect(end == LoopRunEnd(due: policy == .delay ? at(.milliseconds(4200)) : at(.seconds(1))))
    }

    @Test("Delay makes up for starts missed by waking late, up to a second, and keeps its grid")
    func madeUp() {
        var plan = FixedIntervalPlan(interval: .milliseconds(10), initialDelay: .zero, policy: .delay)
        _ = plan.begin(at: origin)
        let woke = Duration.milliseconds(1000)
        for missed in 0..<100 {
            let start = plan.runBegan(at: at(woke))
            #expect(start.lateness == woke - .milliseconds(10) * missed)
            #expect(plan.runEnded(at: at(woke), output: ()) == LoopRunEnd(due: at(.milliseconds(10) * (missed + 1))))
        }
        #expect(plan.drift == .zero)
        // An overrun in the midst of it is one all the same.
        #expect(plan.runBegan(at: at(woke)).lateness == .zero)
        let end = plan.runEnded(at: at(woke + .milliseconds(15)), output: ())
        #expect(end == LoopRunEnd(due: at(woke + .milliseconds(15)), overrun: .milliseconds(5)))
        #expect(plan.drift == .milliseconds(5))
        // Later than a second: from here on.
        _ = plan.runBegan(at: end.due.advanced(by: .milliseconds(1001)))
        #expect(plan.drift == .milliseconds(1006))
    }

    @Test("Lateness of less than an interval moves no later start", arguments: OverrunPolicy.allCases)
    func slightlyLate(policy: OverrunPolicy) {
        var plan = plan(policy)
        _ = plan.begin(at: origin)
        let start = plan.runBegan(at: at(.milliseconds(999)))
        #expect(start.lateness == .milliseconds(999))
        #expect(plan.runEnded(at: at(.milliseconds(999)), output: ()) == LoopRunEnd(due: at(.seconds(1))))
        #expect(plan.drift == .zero)
    }

    @Test("The initial delay moves the grid; a negative one counts as none")
    func initialDelay() {
        var plan = FixedIntervalPlan(interval: .seconds(1), initialDelay: .seconds(3), policy: .delay)
        #expect(plan.begin(at: origin) == at(.seconds(3)))
        plan = FixedIntervalPlan(interval: .seconds(1), initialDelay: .seconds(-3), policy: .delay)
        #expect(plan.begin(at: origin) == origin)
    }

    // MARK: Dynamic

    private func dynamic(longest: Duration?) -> DynamicPlan {
        DynamicPlan(
            loop: "x", initialDelay: .zero, longest: longest, shortest: .milliseconds(1), afterFailure: .seconds(1))
    }

    @Test(
        "A dynamic delay is held between the shortest and the longest",
        arguments: [
            (Duration.seconds(11), Duration.seconds(5), Duration.seconds(5)), (.seconds(1), .seconds(5), .seconds(1)),
            (.zero, .seconds(5), .milliseconds(1)), (.seconds(-4), .seconds(5), .milliseconds(1)),
            (.seconds(9), .seconds(-1), .milliseconds(1)),
        ])
    func dynamicDelay(asked: Duration, longest: Duration, taken: Duration) throws {
        var plan = dynamic(longest: longest)
        _ = plan.begin(at: origin)
        #expect(try plan.runEnded(at: at(.seconds(2)), output: .some(asked)).due == at(.seconds(2) + taken))
    }

    @Test("A dynamic loop without a delay takes the longest, or ends")
    func dynamicNil() throws {
        var plan = dynamic(longest: .seconds(5))
        _ = plan.begin(at: origin)
        #expect(try plan.runEnded(at: origin, output: .some(nil)).due == at(.seconds(5)))
        #expect(try plan.runEnded(at: origin, output: nil).due == at(.seconds(5)))
        plan = dynamic(longest: nil)
        _ = plan.begin(at: origin)
        #expect(throws: LoopingCallError.missingDelay(loop: "x")) {
            try plan.runEnded(at: origin, output: .some(nil))
        }
        #expect(try plan.runEnded(at: origin, output: nil).due == at(.seconds(1)))
    }

    // MARK: Back-off

    @Test("Numbers that are none do not bring a back-off down", arguments: [Double.nan, .infinity, 0, 1e300])
    func backOffOddNumbers(factor: Double) throws {
        var settings = BackOffLoopingCall.Settings(timeout: .zero)
        settings.jitter = factor
        var plan = BackOffPlan(loop: "x", settings: settings) { factor }
        _ = plan.begin(at: origin)
        for _ in 0..<200 {
            let due = try plan.runEnded(at: origin, output: false).due
            #expect(due >= at(.milliseconds(1)))
            #expect(due <= at(.seconds(300)))
        }
        #expect(try plan.runEnded(at: origin, output: true).due > origin)
    }

    @Test("The drawn factor has the mean and the deviation it should")
    func normal() {
        var sum = 0.0
        var squares = 0.0
        let count = 20_000
        for _ in 0..<count {
            let value = Double.normal(mean: 0.75, deviation: 0.1)
            sum += value
            squares += (value - 0.75) * (value - 0.75)
        }
        // Seven standard errors: a false alarm in 10^11 runs.
        #expect(abs(sum / Double(count) - 0.75) < 0.005)
        #expect(abs((squares / Double(count)).squareRoot() - 0.1) < 0.0036)
    }
}
