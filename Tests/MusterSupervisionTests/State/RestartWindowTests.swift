// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Restart intensity")
struct RestartWindowTests {
    private func second(_ seconds: Int) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: Int64(seconds) * 1_000_000_000)
    }

    @Test("More than so many within the period are too many; as many are not")
    func exceeded() {
        let intensity = RestartIntensity(maximum: 3, period: .seconds(10))
        var window = RestartWindow()
        for instant in [0, 1, 2] { window.record(at: second(instant), intensity) }
        #expect(!window.isExceeded)
        window.record(at: second(3), intensity)
        #expect(window.isExceeded)
        #expect(window.calm(intensity) == second(10))
        window.check(at: second(9), intensity)
        #expect(window.isExceeded)
        window.check(at: second(10), intensity)
        #expect(!window.isExceeded)
    }

    @Test("Spread out further than the period, any number is tolerated")
    func spread() {
        let intensity = RestartIntensity(maximum: 3, period: .seconds(10))
        var window = RestartWindow()
        for instant in 0..<100 {
            window.record(at: second(instant * 4), intensity)
            #expect(!window.isExceeded)
        }
    }

    @Test("Every further restart puts the calm off")
    func putOff() {
        let intensity = RestartIntensity(maximum: 1, period: .seconds(10))
        var window = RestartWindow()
        for instant in [0, 5, 8] { window.record(at: second(instant), intensity) }
        #expect(window.calm(intensity) == second(15))
        window.check(at: second(14), intensity)
        #expect(window.isExceeded)
    }

    @Test("Where none is tolerated, the first one is too many", arguments: [0, -1])
    func none(maximum: Int) {
        let intensity = RestartIntensity(maximum: maximum, period: .seconds(1))
        var window = RestartWindow()
        window.record(at: second(1), intensity)
        #expect(window.isExceeded)
        window.check(at: second(2), intensity)
        #expect(!window.isExceeded)
    }

    @Test("Without a limit any longer it is calm at once")
    func limitRemoved() {
        var window = RestartWindow()
        window.record(at: second(1), RestartIntensity(maximum: 0))
        window.check(at: second(1), nil)
        #expect(!window.isExceeded)
    }
}
