// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterSupervision

@Suite("Restart back-off")
struct RestartBackoffStateTests {
    private static let settings = RestartBackoff()

    /// The delays after processes that were ready for so many milliseconds, in milliseconds.
    private func delays(_ uptimes: [Int], _ settings: RestartBackoff = settings) -> [Int] {
        var state = RestartBackoffState()
        return uptimes.map { uptime in
            state.died(afterReady: .milliseconds(uptime), settings)
            return Int(state.delay(settings) / .milliseconds(1))
        }
    }

    @Test(
        "The level moves with each death",
        arguments: [
            // A death after a stable time, then one at once, waits nothing and then the base.
            ([10_000, 0], [0, 10]),
            ([10_000, 10_000, 20_000], [0, 0, 0]),
            // Who was never ready waits from the first.
            ([0], [10]), ([9_999], [0]),
            // The first five deaths of a series cost nothing, and it takes two seconds to make up for one.
            ([1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 10]),
            ([1200, 1200, 1200, 1200, 1200, 1200, 1200], [0, 0, 0, 0, 0, 0, 0]),
            ([Int](repeating: 2000, count: 100), [Int](repeating: 0, count: 100)),
            ([1, 1, 1, 1, 1, 2000, 1], [0, 0, 0, 0, 0, 0, 10]),
            ([1, 1, 1, 1, 1, 10_000, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]),
            // A crash loop.
            (
                [Int](repeating: 0, count: 15),
                [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 20_480, 30_000, 30_000, 30_000]
            ),
            // A life as long as the delay takes one doubling back, but never the first.
            ([0, 0, 0, 40, 20, 10, 10], [10, 20, 40, 20, 10, 10, 10]),
            ([0, 0, 0, 39], [10, 20, 40, 80]),
            // After any storm a stable time makes good for everything.
            ([0, 0, 0, 0, 10_000], [10, 20, 40, 80, 0]),
        ] as [([Int], [Int])])
    func levels(uptimes: [Int], expected: [Int]) {
        #expect(delays(uptimes) == expected)
    }

    @Test("The level stops where the delay does, so that it comes down with the first good life")
    func levelIsBounded() {
        var state = RestartBackoffState()
        let settings = RestartBackoff(stableTime: .seconds(1000))
        for _ in 0..<1000 { state.died(afterReady: .zero, settings) }
        #expect(state.level == 13)
        state.died(afterReady: .seconds(300), settings)
        #expect(state.level == 12)
        #expect(state.delay(settings) == .milliseconds(20_480))
    }

    @Test("Kills a few times a second keep the delay in the tens of milliseconds", arguments: [1, 2, 3, 5])
    func killStorm(killsPerSecond: Int) {
        var state = RestartBackoffState()
        var random = SplitMix64(seed: 5)
        let period = Duration.seconds(1) / killsPerSecond
        var lastDelay = Duration.zero
        var longest = Duration.zero
        for _ in 0..<10_000 {
            // Coming up takes 10 ms.
            state.died(afterReady: max(.zero, period - lastDelay - .milliseconds(10)), Self.settings)
            lastDelay = state.delay(Self.settings, using: &random)
            longest = max(longest, lastDelay)
        }
        #expect(longest < .milliseconds(50))
        #expect(longest > .zero)
    }

    @Test("Ten kills a second among four workers leave somebody to serve", arguments: 1...20)
    func sharedKillStorm(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var states = [RestartBackoffState](repeating: RestartBackoffState(), count: 4)
        // Up since then, or from then on.
        var upSince = [Duration](repeating: .zero, count: 4)
        var deserted = 0
        let kills = 600
        for kill in 1...kills {
            let now = Duration.milliseconds(100 * kill)
            let live = states.indices.filter { upSince[$0] <= now }
            guard let victim = live.randomElement(using: &random) else {
                deserted += 1
                continue
            }
            states[victim].died(afterReady: now - upSince[victim], Self.settings)
            // Coming up takes 10 ms.
            upSince[victim] = now + states[victim].delay(Self.settings, using: &random) + .milliseconds(10)
        }
        #expect(deserted == 0)
        #expect(states.allSatisfy { $0.delay(Self.settings) <= .milliseconds(640) })
    }

    @Test("A crash loop reaches the longest delay within a minute of waiting and stays there")
    func crashLoop() {
        var state = RestartBackoffState()
        var random = SplitMix64(seed: 5)
        var waited = Duration.zero
        // The first five cost nothing.
        for _ in 0..<17 {
            state.died(afterReady: .milliseconds(5), Self.settings)
            waited += state.delay(Self.settings, using: &random)
        }
        #expect(waited < .seconds(60))
        for _ in 0..<100 {
            state.died(afterReady: .milliseconds(5), Self.settings)
            let delay = state.delay(Self.settings, using: &random)
            #expect(delay >= .seconds(27) && delay <= .seconds(33))
        }
    }

    @Test("Jitter spreads the delays over the whole of its range, and is the same for the same seed")
    func jitter() {
        var state = RestartBackoffState()
        for _ in 0..<4 { state.died(afterReady: .zero, Self.settings) }
        var first = SplitMix64(seed: 7)
        var second = SplitMix64(seed: 7)
        let delays = (0..<1000).map { _ in state.delay(Self.settings, using: &first) }
        #expect(delays == (0..<1000).map { _ in state.delay(Self.settings, using: &second) })
        let shortest = delays.min() ?? .zero
        let longest = delays.max() ?? .zero
        #expect(shortest >= .milliseconds(72) && shortest < .milliseconds(73))
        #expect(longest <= .milliseconds(88) && longest > .milliseconds(87))
    }

    @Test(
        "Settings that make no sense lead to no delay below zero and no trap",
        arguments: [
            RestartBackoff(base: .zero), RestartBackoff(base: .seconds(-1)), RestartBackoff(maximum: .seconds(-1)),
            RestartBackoff(base: .seconds(Int64.max), maximum: .seconds(Int64.max)), RestartBackoff(jitter: .nan),
            RestartBackoff(jitter: -3), RestartBackoff(jitter: .infinity), RestartBackoff(stableTime: .zero),
            RestartBackoff(stableTime: .seconds(-1)),
        ])
    func nonsense(settings: RestartBackoff) {
        var state = RestartBackoffState()
        var random = SplitMix64(seed: 1)
        for uptime in [0, 0, 1, 100, 0, 0, 0, 100_000] + [Int](repeating: 0, count: 200) {
            state.died(afterReady: .seconds(uptime), settings)
            #expect(state.delay(settings, using: &random) >= .zero)
        }
    }

    @Test("A crash loop climbs even where the stable time is zero")
    func noStableTime() {
        #expect(delays([0, 0, 0], RestartBackoff(stableTime: .zero)) == [10, 20, 40])
    }

    @Test("No setting makes it overflow")
    func extremes() {
        let durations: [Duration] = [
            .zero, .nanoseconds(1), .seconds(-1), .seconds(10_000_000_000), .seconds(Int64.max), .seconds(Int64.min),
        ]
        for base in durations {
            for maximum in durations {
                let settings = RestartBackoff(base: base, maximum: maximum, jitter: .infinity, stableTime: maximum)
                var state = RestartBackoffState()
                var random = SplitMix64(seed: 1)
                for _ in 0..<100 {
                    state.died(afterReady: .zero, settings)
                    #expect(state.delay(settings, using: &random) >= .zero)
                }
            }
        }
    }
}
