// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterCompare
import MusterPlatform
import Testing

@Suite struct StatisticsTests {
    @Test("Mann and Whitney's exact test agrees with published tables and with a count by hand")
    func exactTest() {
        // 2 of the C(10, 5) = 252 ways are as extreme.
        #expect(abs(Statistics.mannWhitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) - 2.0 / 252) < 1e-12)
        // R: wilcox.test(c(1.1, 2.2, 3.3, 4.4), c(2.5, 3.5, 5.5, 6.6))$p.value
        #expect(abs(Statistics.mannWhitney([1.1, 2.2, 3.3, 4.4], [2.5, 3.5, 5.5, 6.6]) - 0.2) < 1e-12)
        // Ties: the ranks are 1.5, 1.5, 3.5 against 3.5, 5.5, 5.5; 2 of the 20 ways are as extreme.
        #expect(abs(Statistics.mannWhitney([1, 1, 2], [2, 3, 3]) - 0.2) < 1e-12)
        #expect(Statistics.mannWhitney([1, 1, 1], [1, 1, 1]) == 1)
    }

    @Test("Beyond forty values the normal distribution stands in for the exact one")
    func normalApproximation() {
        let a = (0..<30).map { Double($0) }
        let b = (0..<30).map { Double($0) + 7.5 }
        // R: wilcox.test(0:29, 0:29 + 7.5, exact = FALSE)$p.value = 0.0032
        let p = Statistics.mannWhitney(a, b)
        #expect(p > 0.001 && p < 0.01)
        #expect(Statistics.mannWhitney(a, a) > 0.99)
    }

    @Test("Student's t has the tails of the tables")
    func studentTails() {
        #expect(abs(Statistics.studentTail(2.306, 8) - 0.05) < 1e-4)
        #expect(abs(Statistics.studentTail(12.706, 1) - 0.05) < 1e-4)
        #expect(abs(Statistics.studentTail(4.604, 4) - 0.01) < 1e-4)
    }

    @Test("Benjamini and Hochberg's correction agrees with R's p.adjust")
    func correction() {
        let adjusted = Statistics.benjaminiHochberg([0.01, 0.04, 0.03, 0.005])
        for (value, expected) in zip(adjusted, [0.02, 0.04, 0.04, 0.02]) { #expect(abs(value - expected) < 1e-12) }
        #expect(Statistics.benjaminiHochberg([]).isEmpty)
    }

    @Test("Units that agree within themselves prove no more than their number")
    func fewUnits() {
        let constant: Units = (0..<5).map { _ in [Double](repeating: 1, count: 12) }
        let other: Units = (0..<5).map { _ in [Double](repeating: 2, count: 12) }
        let test = Statistics.rankTest(constant, other)
        #expect(abs(test.p - 2.0 / 252) < 1e-6)
        #expect(test.delta == 1 && test.resemblance == 1)
        #expect(Statistics.rankTest(constant, constant).p == 1)
    }

    @Test("The same values give the same interval")
    func determinism() {
        var simulation = Simulation(seed: 3)
        let a = simulation.side(units: 5, blocks: 8, resemblance: 0.3)
        let b = simulation.side(units: 5, blocks: 8, resemblance: 0.3, ratio: 1.2)
        let (one, two) = (Statistics.intervals(a, b, draws: 200), Statistics.intervals(a, b, draws: 200))
        #expect(one.ratio == two.ratio && one.difference == two.difference)
    }

    @Test("Without a median above zero there is a difference and no ratio")
    func zeroes() {
        let zero: Units = (0..<5).map { _ in [0, 0] }
        let some: Units = (0..<5).map { _ in [1, 2] }
        let (ratio, difference) = Statistics.intervals(zero, some, draws: 100)
        #expect(ratio == nil && difference.estimate == 1.5)
    }

    // MARK: Error rates

    @Test(
        "Intervals hold the true ratio in 95 of 100 simulated comparisons, whatever resembles what",
        arguments: [(5, 0.0), (5, 0.3), (5, 0.9), (10, 0.3)])
    func coverage(units: Int, resemblance: Double) {
        var simulation = Simulation(seed: 11)
        let runs = 200
        let held = (0..<runs).count { _ in
            let a = simulation.side(units: units, blocks: 6, resemblance: resemblance)
            let b = simulation.side(units: units, blocks: 6, resemblance: resemblance, ratio: 1.2)
            guard let ratio = Statistics.intervals(a, b, draws: 300).ratio else { return false }
            return ratio.low <= 1.2 && 1.2 <= ratio.high
        }
        // Three deviations of a proportion of 0.95 in 200 are 0.046.
        #expect(Double(held) / Double(runs) >= 0.90, "held \(held) of \(runs)")
    }

    @Test(
        "Identical sides are told apart in no more than 5 of 100 simulated comparisons of twenty quantities",
        arguments: [0.0, 0.4, 0.95])
    func falseFindings(resemblance: Double) {
        var simulation = Simulation(seed: 5)
        let runs = 200
        let found = (0..<runs).count { _ in
            let p = (0..<20).map { _ in
                Statistics.rankTest(
                    simulation.side(units: 5, blocks: 6, resemblance: resemblance),
                    simulation.side(units: 5, blocks: 6, resemblance: resemblance)
                ).p
            }
            return Statistics.benjaminiHochberg(p).contains { $0 <= 0.05 }
        }
        // Without the correction it would be 64 of 100. Three deviations are 0.046.
        #expect(Double(found) / Double(runs) <= 0.096, "found \(found) of \(runs)")
    }

    @Test("A handicap of 20 % among nineteen quantities that are alike is found, with the right sign")
    func power() {
        var simulation = Simulation(seed: 9)
        let runs = 60
        let found = (0..<runs).count { _ in
            let tests = (0..<20).map { index in
                Statistics.rankTest(
                    simulation.side(units: 5, blocks: 6, resemblance: 0.2),
                    simulation.side(units: 5, blocks: 6, resemblance: 0.2, ratio: index == 0 ? 1.2 : 1))
            }
            return Statistics.benjaminiHochberg(tests.map(\.p))[0] <= 0.05 && tests[0].delta > 0
        }
        #expect(found >= runs / 2, "found \(found) of \(runs)")
    }

    @Test("As many units as are said to be needed find the difference in about half of the simulated comparisons")
    func unitsNeeded() {
        #expect(Statistics.unitsNeeded(units: 5, p: 2.0 / 252, limit: 0.05 / 20) == 6)
        #expect(Statistics.unitsNeeded(units: 5, p: 0.5, limit: 0.05) > 40)
        var simulation = Simulation(seed: 21)
        let limit = 0.0025
        func probability(_ units: Int) -> Double {
            Statistics.rankTest(
                simulation.side(units: units, blocks: 6, resemblance: 0.3),
                simulation.side(units: units, blocks: 6, resemblance: 0.3, ratio: 1.1)
            ).p
        }
        let typical = Statistics.median((0..<200).map { _ in probability(5) })
        #expect(typical > limit)
        let needed = Statistics.unitsNeeded(units: 5, p: typical, limit: limit)
        let found = (0..<200).count { _ in probability(needed) <= limit }
        #expect((70...170).contains(found), "\(needed) units found \(found) of 200")
    }
}

/// Values with a known truth.
struct Simulation {
    private var generator: SplitMix64

    init(seed: UInt64) {
        generator = SplitMix64(seed: seed)
    }

    private mutating func normal() -> Double {
        let u = Double.random(in: 1e-12..<1, using: &generator)
        let v = Double.random(in: 0..<1, using: &generator)
        return (-2 * log(u)).squareRoot() * cos(2 * .pi * v)
    }

    /// Values that scatter by a tenth; `resemblance` is the share of the variance that a unit has in common.
    mutating func side(units: Int, blocks: Int, resemblance: Double, ratio: Double = 1, scale: Double = 1) -> Units {
        (0..<units).map { _ in
            let common = normal()
            return (0..<blocks).map { _ in
                let own = normal()
                let deviation = resemblance.squareRoot() * common + (1 - resemblance).squareRoot() * own
                return scale * ratio * exp(0.1 * deviation)
            }
        }
    }
}
