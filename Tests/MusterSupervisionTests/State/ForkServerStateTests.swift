// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Whether there is a fork server")
struct ForkServerStateTests {
    private func actions(_ events: [ForkServerState.Event]) -> [[ForkServerState.Action]] {
        var state = ForkServerState()
        return events.map { state.handle($0) }
    }

    @Test("Its first failure costs no pause, further ones twice as long each, until it has forked")
    func failures() {
        #expect(
            actions([.begin, .failed, .due, .failed, .due, .failed, .due, .forked, .failed])
                == [
                    [.start], [.end, .pause(.zero)], [.start], [.end, .pause(.seconds(1))], [.start],
                    [.end, .pause(.seconds(2))], [.start], [], [.end, .pause(.zero)],
                ])
        var state = ForkServerState()
        _ = state.handle(.begin)
        var longest = Duration.zero
        for _ in 0..<200 {
            if case .pause(let pause)? = state.handle(.failed).last { longest = max(longest, pause) }
            #expect(state.handle(.due) == [.start])
        }
        #expect(longest == .seconds(64))
    }

    @Test("A reload has another one at once, a crash after the replacement, neither as a failure")
    func renewals() {
        #expect(
            actions([.begin, .outdated, .crashed, .due, .crashed, .crashed, .outdated, .due, .failed])
                == [
                    [.start], [.end, .start], [.end, .pause(.zero)], [.start], [.end, .pause(.zero)], [], [], [.start],
                    [.end, .pause(.zero)],
                ])
    }

    @Test(
        "Once it is refused, or stopped, nothing starts one again", arguments: [ForkServerState.Event.refused, .stop])
    func off(end: ForkServerState.Event) {
        #expect(actions([.begin, end]) == [[.start], [.end]])
        #expect(actions([.begin, .failed, end]) == [[.start], [.end, .pause(.zero)], []])
        var state = ForkServerState()
        _ = state.handle(.begin)
        _ = state.handle(end)
        for event in ForkServerState.Event.allCases where event != .begin {
            #expect(state.handle(event).isEmpty)
            #expect(state.phase == .off)
        }
    }

    @Test("In any order of events there is never a second server, and an end only for one that there is")
    func anyOrder() {
        for seed in 0..<2000 as Range<UInt64> {
            var random = SplitMix64(seed: seed)
            var state = ForkServerState()
            var servers = 0
            for _ in 0..<40 {
                guard let event = ForkServerState.Event.allCases.randomElement(using: &random) else { return }
                for action in state.handle(event) {
                    switch action {
                    case .start: servers += 1
                    case .end: servers -= 1
                    case .pause: break
                    }
                    #expect((0...1).contains(servers))
                }
                #expect((servers == 1) == (state.phase == .serving))
            }
        }
    }
}
