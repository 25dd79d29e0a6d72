// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import MusterMetrics

@Suite("Quantiles of a histogram")
struct HistogramQuantileTests {
    private func histogram(_ counts: [UInt64], bounds: [Double] = [1, 2, 4]) -> HistogramSnapshot {
        HistogramSnapshot(
            count: counts.reduce(0, { $0.saturatingSum($1) }), sum: 0, bounds: bounds, bucketCounts: counts)
    }

    @Test(
        "are those of Prometheus' histogram_quantile",
        arguments: [
            // Evenly within a bucket, the first from 0.
            ([10, 0, 0, 0], 0.5, 0.5), ([10, 10, 0, 0], 0.5, 1), ([10, 10, 0, 0], 0.75, 1.5), ([0, 4, 4, 0], 0.75, 3),
            // Beyond the last bound nothing is known.
            ([1, 0, 0, 9], 0.99, 4), ([0, 0, 0, 5], 0.5, 4),
            ([100, 0, 1, 0], 0.99, 0.9999), ([3, 0, 0, 0], 1, 1),
        ] as [([UInt64], Double, Double)])
    func values(counts: [UInt64], share: Double, expected: Double) throws {
        let value = try #require(histogram(counts).quantile(share))
        #expect(abs(value - expected) < 1e-12)
    }

    @Test("are none without observations, and none of nonsense")
    func none() {
        #expect(histogram([0, 0, 0, 0]).quantile(0.5) == nil)
        #expect(histogram([], bounds: []).quantile(0.5) == nil)
        #expect(histogram([1], bounds: [1, 2]).quantile(0.5) == nil)
        #expect(histogram([.max, .max, .max, .max]).quantile(0.5) == 2)
    }

    @Test("of several histograms are those of their sum, and of a time those of the difference")
    func arithmetic() {
        var sum = histogram([1, 2, 3, 4])
        sum.add(histogram([1, 1, 1, 1]))
        #expect(sum.bucketCounts == [2, 3, 4, 5] && sum.count == 14)
        sum.add(histogram([1, 1], bounds: [7]))
        #expect(sum.count == 14, "other buckets are left out")
        #expect(sum.since(histogram([1, 2, 3, 4])).bucketCounts == [1, 1, 1, 1])
        #expect(sum.since(histogram([9, 0, 0, 0])).bucketCounts == [0, 3, 4, 5], "nothing falls below zero")
        var full = histogram([.max, 0, 0, 0])
        full.add(histogram([1, 0, 0, 0]))
        #expect(full.bucketCounts[0] == .max)
    }
}
