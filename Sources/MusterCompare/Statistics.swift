// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

/// The values of one side: one list for each unit (a run of the program, or a worker), in the order of time.
///
/// Neighbouring values of one unit resemble each other, so the unit, not the value, is what statistics count.
package typealias Units = [[Double]]

/// The statistics of two sides. Everything is a function of its arguments: the resampling has a fixed seed.
package enum Statistics {
    /// A difference with its interval.
    package struct Interval: Hashable, Codable, Sendable {
        package var estimate: Double
        package var low: Double
        package var high: Double

        package init(estimate: Double, low: Double, high: Double) {
            self.estimate = estimate
            self.low = low
            self.high = high
        }
    }

    /// What ``rankTest(_:_:)`` finds.
    package struct RankTest: Hashable, Sendable {
        /// The probability of ranks as different as these if the sides are alike.
        package let p: Double
        /// The least probability that so many units could have given.
        package let floor: Double
        /// Cliff's delta: how much more often a value of the second side is the larger one, from -1 to 1.
        package let delta: Double
        /// How much the values of one unit resemble each other, from 0 to 1.
        package let resemblance: Double
    }

    package static func median(_ values: [Double]) -> Double { quantile(values.sorted(), 0.5) }

    /// The quantile of sorted values, interpolated between neighbours.
    package static func quantile(_ sorted: [Double], _ q: Double) -> Double {
        guard let last = sorted.last else { return .nan }
        let place = q * Double(sorted.count - 1)
        let index = Int(place)
        guard index + 1 < sorted.count else { return last }
        return sorted[index] + (sorted[index + 1] - sorted[index]) * (place - Double(index))
    }

    package static func logarithm(_ value: Double) -> Double { log(value) }

    // MARK: Tests

    /// Mann and Whitney's test for values in units: all values are ranked together, each unit counts with the mean of
    /// its ranks, and the sides' means are compared by Welch's t. Where units hold one value, or values that resemble
    /// each other more than not, each unit counts with its median alone, and the test is the exact one; the number of
    /// units then limits how small a probability can be.
    package static func rankTest(_ a: Units, _ b: Units) -> RankTest {
        let ranks = midranks((a + b).flatMap { $0 })
        var next = 0
        let byUnit: [[Double]] = (a + b).map { unit in
            defer { next += unit.count }
            return Array(ranks[next..<next + unit.count])
        }
        let means = byUnit.map(mean)
        let left = Array(means[..<a.count])
        let right = Array(means[a.count...])
        let sizes = (Double(a.joined().count), Double(b.joined().count))
        let rankSum = byUnit[a.count...].joined().reduce(0, +)
        let delta = 2 * (rankSum - sizes.1 * (sizes.1 + 1) / 2) / (sizes.0 * sizes.1) - 1
        guard Set(ranks).count > 1 else { return RankTest(p: 1, floor: 1, delta: 0, resemblance: 0) }
        let resemblance = intraclass(Array(byUnit[..<a.count]), Array(byUnit[a.count...]))
        func effective(_ units: Units, _ total: Double) -> Double {
            let size = total / Double(units.count)
            return total / (1 + (size - 1) * resemblance)
        }
        let floor = min(1, 2 / choose(effective(a, sizes.0), effective(b, sizes.1)))
        // Half a rank of spread at least: units that agree exactly prove no more than their number.
        let variance = (max(0.25, variance(left)) / Double(a.count), max(0.25, Self.variance(right)) / Double(b.count))
        let t = (mean(right) - mean(left)) / (variance.0 + variance.1).squareRoot()
        let freedom =
            (variance.0 + variance.1) * (variance.0 + variance.1)
            / (variance.0 * variance.0 / Double(a.count - 1) + variance.1 * variance.1 / Double(b.count - 1))
        let p =
            resemblance > 0.5
            ? mannWhitney(a.map(median), b.map(median)) : max(floor, studentTail(t, freedom))
        return RankTest(p: p, floor: floor, delta: delta, resemblance: resemblance)
    }

    /// Mann and Whitney's test of independent values, two-sided: exact, ties included, up to forty values; by the normal
    /// distribution beyond.
    package static func mannWhitney(_ a: [Double], _ b: [Double]) -> Double {
        let ranks = midranks(a + b)
        let sum = ranks[..<a.count].reduce(0, +)
        let expected = Double(a.count) * Double(ranks.count + 1) / 2
        if ranks.count <= 40 { return exact(ranks, a.count, distance: abs(sum - expected)) }
        let counts = Dictionary(grouping: ranks) { $0 }.values.map { Double($0.count) }
        let n = Double(ranks.count)
        let ties = counts.reduce(0) { $0 + $1 * $1 * $1 - $1 }
        let variance = Double(a.count * b.count) / 12 * (n + 1 - ties / (n * (n - 1)))
        guard variance > 0 else { return 1 }
        return min(1, 2 * normalTail(max(0, abs(sum - expected) - 0.5) / variance.squareRoot()))
    }

    /// The share of all ways to choose the first side whose sum of ranks is at least as far from the expected one.
    private static func exact(_ ranks: [Double], _ count: Int, distance: Double) -> Double {
        // Midranks are halves, so doubled ones are whole.
        let doubled = ranks.map { Int(($0 * 2).rounded()) }
        let largest = doubled.reduce(0, +)
        var ways = [[Double]](repeating: [Double](repeating: 0, count: largest + 1), count: count + 1)
        ways[0][0] = 1
        for rank in doubled {
            for taken in stride(from: count, to: 0, by: -1) {
                for sum in stride(from: largest, through: rank, by: -1) where ways[taken - 1][sum - rank] > 0 {
                    ways[taken][sum] += ways[taken - 1][sum - rank]
                }
            }
        }
        let expected = Double(count * (ranks.count + 1))
        let all = ways[count].reduce(0, +)
        let extreme = ways[count].enumerated().filter { abs(Double($0.offset) - expected) >= 2 * distance - 1e-9 }
        return min(1, extreme.reduce(0) { $0 + $1.element } / all)
    }

    /// Benjamini and Hochberg's correction: probabilities such that of those below a limit, the limit's share is false
    /// at most. If nothing differs at all, the limit is also the probability of a single false finding.
    package static func benjaminiHochberg(_ p: [Double]) -> [Double] {
        var result = p
        var least = 1.0
        for (place, index) in p.indices.sorted(by: { p[$0] < p[$1] }).enumerated().reversed() {
            least = min(least, p[index] * Double(p.count) / Double(place + 1))
            result[index] = least
        }
        return result
    }

    /// How many units a side would give a probability of at most `limit`, if their ranks differed as those of `units`
    /// with the probability `p` do: the deviation grows with the root of their number. Sides that do not overlap need as
    /// many as make the exact test's least probability small enough.
    package static func unitsNeeded(units: Int, p: Double, limit: Double) -> Int {
        func least(_ units: Int) -> Double { 2 / choose(Double(units), Double(units)) }
        let factor = p <= least(units) * 1.001 ? 1 : normalQuantile(limit / 2) / normalQuantile(min(0.9, p) / 2)
        var needed = max(units + 1, Int(min(1000, (Double(units) * factor * factor).rounded(.up))))
        while needed < 1000, least(needed) > limit { needed += 1 }
        return needed
    }

    // MARK: Intervals

    /// The ratio of the sides' medians (second to first) and their difference, each with an interval that holds the
    /// true one at a confidence of 95 %: whole units are drawn with replacement, and the percentiles are set further out
    /// than 2.5 and 97.5 by what few units underestimate.
    ///
    /// The ratio is `nil` where a median is not above zero.
    package static func intervals(_ a: Units, _ b: Units, draws: Int = 2000) -> (ratio: Interval?, difference: Interval)
    {
        let medians = (median(a.flatMap { $0 }), median(b.flatMap { $0 }))
        var generator = SplitMix64(seed: 0x4D75_7374_6572)
        var ratios: [Double] = []
        var differences: [Double] = []
        for _ in 0..<draws {
            let first = median(draw(a, &generator))
            let second = median(draw(b, &generator))
            differences.append(second - first)
            if first > 0, second > 0 { ratios.append(second / first) }
        }
        let tail = expandedTail(a.count, b.count)
        func interval(_ drawn: [Double], _ estimate: Double) -> Interval {
            let sorted = drawn.sorted()
            return Interval(
                estimate: estimate, low: min(estimate, quantile(sorted, tail)),
                high: max(estimate, quantile(sorted, 1 - tail)))
        }
        let hasRatio = medians.0 > 0 && medians.1 > 0 && ratios.count == draws
        return (
            hasRatio ? interval(ratios, medians.1 / medians.0) : nil,
            interval(differences, medians.1 - medians.0)
        )
    }

    private static func draw(_ units: Units, _ generator: inout SplitMix64) -> [Double] {
        var values: [Double] = []
        for _ in units.indices { values += units[Int.random(in: 0..<units.count, using: &generator)] }
        return values
    }

    /// Hesterberg's expanded percentiles: what lies beyond an interval of Student's t, told in normal deviations, and
    /// wider by the bias of a small sample's variance.
    private static func expandedTail(_ a: Int, _ b: Int) -> Double {
        let n = Double(min(a, b))
        return normalTail((n / (n - 1)).squareRoot() * studentQuantile(0.975, n + Double(max(a, b)) - 2))
    }

    // MARK: Parts

    private static func midranks(_ values: [Double]) -> [Double] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Double](repeating: 0, count: values.count)
        var start = 0
        while start < order.count {
            var end = start
            while end + 1 < order.count, values[order[end + 1]] == values[order[start]] { end += 1 }
            for place in start...end { ranks[order[place]] = Double(start + end) / 2 + 1 }
            start = end + 1
        }
        return ranks
    }

    /// The intraclass correlation of ranks within each side's units, by the analysis of variance.
    private static func intraclass(_ a: Units, _ b: Units) -> Double {
        let units = a + b
        let total = Double(units.joined().count)
        let size = total / Double(units.count)
        guard size > 1 else { return 1 }
        let within = units.reduce(0) { sum, unit in
            let middle = mean(unit)
            return sum + unit.reduce(0) { $0 + ($1 - middle) * ($1 - middle) }
        }
        let between = [a, b].reduce(0) { sum, side in
            let middle = mean(side.flatMap { $0 })
            return sum + side.reduce(0) { $0 + Double($1.count) * (mean($1) - middle) * (mean($1) - middle) }
        }
        let meanWithin = within / (total - Double(units.count))
        let meanBetween = between / Double(max(1, units.count - 2))
        guard meanBetween + (size - 1) * meanWithin > 0 else { return 1 }
        return min(1, max(0, (meanBetween - meanWithin) / (meanBetween + (size - 1) * meanWithin)))
    }

    private static func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

    private static func variance(_ values: [Double]) -> Double {
        guard values.count > 1 else { return 0 }
        let middle = mean(values)
        return values.reduce(0) { $0 + ($1 - middle) * ($1 - middle) } / Double(values.count - 1)
    }

    /// The ways to choose one side's values out of both sides'.
    private static func choose(_ a: Double, _ b: Double) -> Double {
        exp(lgamma(a + b + 1) - lgamma(a + 1) - lgamma(b + 1))
    }

    private static func normalTail(_ z: Double) -> Double { erfc(z / 2.0.squareRoot()) / 2 }

    /// The deviation beyond which lies a share `tail` of a normal distribution.
    private static func normalQuantile(_ tail: Double) -> Double { bisect { normalTail($0) > tail } }

    /// The largest number from 0 to 1000 up to which something holds.
    private static func bisect(_ holds: (Double) -> Bool) -> Double {
        var low = 0.0
        var high = 1e3
        for _ in 0..<100 {
            let middle = (low + high) / 2
            if holds(middle) { low = middle } else { high = middle }
        }
        return high
    }

    /// The probability of a value of Student's t at least so far from zero.
    package static func studentTail(_ t: Double, _ freedom: Double) -> Double {
        incompleteBeta(freedom / 2, 0.5, freedom / (freedom + t * t))
    }

    private static func studentQuantile(_ q: Double, _ freedom: Double) -> Double {
        bisect { studentTail($0, freedom) / 2 > 1 - q }
    }

    /// The regularised incomplete beta function, by its continued fraction.
    private static func incompleteBeta(_ a: Double, _ b: Double, _ x: Double) -> Double {
        if x <= 0 { return 0 }
        if x >= 1 { return 1 }
        // The fraction converges fast on this side of the mean.
        if x > (a + 1) / (a + b + 2) { return 1 - incompleteBeta(b, a, 1 - x) }
        let tiny = 1e-300
        var c = 1.0
        var d = 1 / max(tiny, 1 - (a + b) * x / (a + 1))
        var fraction = d
        for m in 1...300 {
            let m = Double(m)
            for step in [
                m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
            ] {
                d = 1 + step * d
                d = 1 / (abs(d) < tiny ? tiny : d)
                c = 1 + step / c
                c = abs(c) < tiny ? tiny : c
                fraction *= c * d
            }
            if abs(c * d - 1) < 1e-14 { break }
        }
        return exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1 - x)) * fraction / a
    }
}
