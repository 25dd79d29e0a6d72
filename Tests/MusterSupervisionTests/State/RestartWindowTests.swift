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
        // A pause of a third of the period, as three are tolerated, after the last one.
        let calm = second(3).advanced(by: .seconds(10) / 3)
        #expect(window.calm(intensity) == calm)
        window.check(at: calm.advanced(by: .nanoseconds(-1)), intensity)
        #expect(window.isExceeded)
        window.check(at: calm, intensity)
        #expect(!window.isExceeded)
    }

    @Test("A storm that is over ends it after a tenth of the period")
    func afterStorm() {
        let intensity = RestartIntensity()
        var window = RestartWindow()
        for instant in 0..<180 {
            window.record(at: MonotonicInstant(nanoseconds: Int64(instant) * 333_000_000), intensity)
        }
        #expect(window.isExceeded)
        #expect(window.calm(intensity) == MonotonicInstant(nanoseconds: 179 * 333_000_000 + 6_000_000_000))
    }

    @Test("It ends with the period where that is earlier")
    func endOfPeriod() {
        let intensity = RestartIntensity(maximum: 1, period: .seconds(10))
        var window = RestartWindow()
        for instant in [0, 9] { window.record(at: second(instant), intensity) }
        #expect(window.isExceeded)
        #expect(window.calm(intensity) == second(10))
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
