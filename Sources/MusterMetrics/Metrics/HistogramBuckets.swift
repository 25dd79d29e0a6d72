// SPDX-License-Identifier: Apache-2.0

/// The upper bounds of a histogram's buckets; the bucket up to +Inf is added by itself.
public struct HistogramBuckets: Hashable, Sendable {
    /// The bounds, strictly rising; an observation belongs to the first bucket whose bound is not below it.
    public let bounds: [Double]

    /// Makes buckets from their upper bounds.
    ///
    /// - Parameter bounds: 1 to 200 finite, strictly rising numbers, in the metric's unit.
    /// - Throws: ``MetricError/invalidBuckets(_:)`` that says which bound is wrong.
    public init(_ bounds: [Double]) throws(MetricError) {
        try Self.validate(bounds)
        self.bounds = bounds
    }

    private init(valid bounds: [Double]) {
        self.bounds = bounds
    }

    /// For durations in seconds, from 1 ms to 60 s.
    public static let seconds = HistogramBuckets(valid: [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
    ])

    /// For how late something starts, in seconds, from 10 µs to 10 s.
    public static let lateness = HistogramBuckets(valid: [
        0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
        1, 2.5, 5, 10,
    ])

    /// For values of unknown size, from one thousandth to a thousand millions.
    public static let general = HistogramBuckets(valid: [
        0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 100_000, 1_000_000,
        10_000_000, 100_000_000, 1_000_000_000,
    ])

    /// Bounds at equal distances.
    ///
    /// - Parameters:
    ///   - start: The first bound.
    ///   - width: The distance between two bounds; above 0.
    ///   - count: How many bounds, 1 to 200.
    /// - Returns: The buckets.
    /// - Throws: ``MetricError/invalidBuckets(_:)`` when these numbers give no rising bounds.
    public static func linear(start: Double, width: Double, count: Int) throws(MetricError) -> HistogramBuckets {
        try validate(count: count)
        return try HistogramBuckets((0..<count).map { start + Double($0) * width })
    }

    /// Bounds that each are a multiple of the one before.
    ///
    /// - Parameters:
    ///   - start: The first bound; above 0.
    ///   - factor: The ratio of two neighbours; above 1.
    ///   - count: How many bounds, 1 to 200.
    /// - Returns: The buckets.
    /// - Throws: ``MetricError/invalidBuckets(_:)`` when these numbers give no rising bounds.
    public static func exponential(
        start: Double, factor: Double, count: Int
    ) throws(MetricError) -> HistogramBuckets {
        try validate(count: count)
        var bounds: [Double] = []
        var bound = start
        for _ in 0..<count {
            bounds.append(bound)
            bound *= factor
        }
        return try HistogramBuckets(bounds)
    }

    static func validate(_ bounds: [Double]) throws(MetricError) {
        try validate(count: bounds.count)
        for (index, bound) in bounds.enumerated() {
            guard bound.isFinite else {
                throw .invalidBuckets("bound \(index) is \(bound); bounds must be finite, +Inf is added by itself")
            }
            guard index == 0 || bounds[index - 1] < bound else {
                throw .invalidBuckets("bound \(index) (\(bound)) is not above the one before (\(bounds[index - 1]))")
            }
        }
    }

    private static func validate(count: Int) throws(MetricError) {
        guard (1...ArenaLayout.maximumBuckets).contains(count) else {
            throw .invalidBuckets("\(count) bounds; give 1 to \(ArenaLayout.maximumBuckets)")
        }
    }
}
