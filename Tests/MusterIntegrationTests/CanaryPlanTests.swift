// SPDX-License-Identifier: Apache-2.0

import MusterDemoSupport
import Testing

@Suite("The plan of canaries")
struct CanaryPlanTests {
    private func canaries(_ percent: Int, of slots: Int) -> [Int] {
        (0..<slots).filter { CanaryPlan(percent: percent).isCanary(slot: $0) }
    }

    @Test("chooses the share of any number of slots, rounded down", arguments: [0, 1, 10, 25, 33, 50, 66, 99, 100])
    func share(percent: Int) {
        for slots in 0...301 {
            #expect(canaries(percent, of: slots).count == slots * percent / 100)
        }
    }

    @Test("spreads the canaries evenly")
    func spread() {
        #expect(canaries(25, of: 8) == [3, 7])
        #expect(canaries(50, of: 5) == [1, 3])
        #expect(canaries(40, of: 10) == [2, 4, 7, 9])
        #expect(canaries(100, of: 3) == [0, 1, 2])
        #expect(canaries(10, of: 9).isEmpty)
    }

    @Test("takes any number")
    func limits() {
        #expect(CanaryPlan(percent: 1000).percent == 100)
        #expect(CanaryPlan(percent: -1).percent == 0)
        #expect(CanaryPlan(percent: 100).isCanary(slot: .max))
        #expect(!CanaryPlan(percent: 0).isCanary(slot: .max))
        #expect(!CanaryPlan(percent: 100).isCanary(slot: -1))
    }
}
