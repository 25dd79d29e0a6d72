// SPDX-License-Identifier: Apache-2.0

/// The upper bounds of a histogram's buckets; the bucket up to +Inf is added by itself.
public struct HistogramBuckets: Hashable, Sendable {
    /// The bounds, strictly rising; an observation belongs to the first bucket whose bound is not below it.
    package let bounds: [Double]

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
    package static let lateness = HistogramBuckets(valid: [
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
    /// - Throws: ``MetricError/invalidBuckets(_:)`` when these numbers give no rising bounds.
    package static func linear(start: Double, width: Double, count: Int) throws(MetricError) -> HistogramBuckets {
        try validate(count: count)
        return try HistogramBuckets((0..<count).map { start + Double($0) * width })
    }

    /// Bounds that each are a multiple of the one before.
    ///
    /// - Parameters:
    ///   - start: The first bound; above 0.
    ///   - factor: The ratio of two neighbours; above 1.
    ///   - count: How many bounds, 1 to 200.
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

/// A histogram's bounds in memory that an observation reaches without a bounds check or a reference count.
@usableFromInline
final class BucketBounds: Sendable {
    // Written once, before anybody else knows the pointer; read only after that.
    @usableFromInline nonisolated(unsafe) let first: UnsafeMutablePointer<Double>
    @usableFromInline let count: Int

    init(_ bounds: [Double]) {
        count = bounds.count
        first = .allocate(capacity: max(bounds.count, 1))
        first.initialize(from: bounds, count: bounds.count)
    }

    deinit {
        first.deallocate()
    }
}

/// A histogram's content at one moment.
package struct HistogramSnapshot: Hashable, Sendable {
    /// How many observations were made.
    package var count: UInt64
    /// The sum of all observations.
    package var sum: Double
    /// The upper bounds of the buckets.
    package var bounds: [Double]
    /// How many observations fell into each bucket, not cumulated; the last one is the bucket up to +Inf.
    package var bucketCounts: [UInt64]

    /// Creates a histogram's content.
    ///
    /// - Parameters:
    ///   - count: How many observations were made.
    ///   - sum: The sum of all observations.
    ///   - bounds: The upper bounds of the buckets.
    ///   - bucketCounts: How many observations fell into each bucket, and beyond the last bound.
    package init(count: UInt64, sum: Double, bounds: [Double], bucketCounts: [UInt64]) {
        self.count = count
        self.sum = sum
        self.bounds = bounds
        self.bucketCounts = bucketCounts
    }
}

extension HistogramSnapshot {
    /// The value that a share of the observations did not exceed, estimated as Prometheus' `histogram_quantile` does:
    /// within a bucket the observations are taken to be spread evenly, the first bucket begins at 0, and of what lies
    /// beyond the last bound no more is known than that bound.
    ///
    /// - Parameter share: The share, 0 to 1.
    /// - Returns: The estimate; `nil` without observations or bounds.
    package func quantile(_ share: Double) -> Double? {
        let total = bucketCounts.reduce(0.0) { $0 + Double($1) }
        guard total > 0, !bounds.isEmpty, bucketCounts.count == bounds.count + 1 else { return nil }
        let rank = min(max(share, 0), 1) * total
        var below = 0.0
        for (index, bound) in bounds.enumerated() {
            let count = Double(bucketCounts[index])
            guard below + count >= rank, count > 0 else {
                below += count
                continue
            }
            if index == 0, bound <= 0 { return bound }
            let start = index == 0 ? 0 : bounds[index - 1]
            return start + (bound - start) * ((rank - below) / count)
        }
        return bounds.last
    }

    /// Adds the observations of another histogram, which is left out when its buckets are others.
    package mutating func add(_ other: HistogramSnapshot) {
        guard bounds == other.bounds, bucketCounts.count == other.bucketCounts.count else { return }
        count = count.saturatingSum(other.count)
        sum += other.sum
        for index in bucketCounts.indices {
            bucketCounts[index] = bucketCounts[index].saturatingSum(other.bucketCounts[index])
        }
    }

    /// What has been observed since an earlier reading; all of it when that has other buckets.
    package func since(_ earlier: HistogramSnapshot) -> HistogramSnapshot {
        guard bounds == earlier.bounds, bucketCounts.count == earlier.bucketCounts.count else { return self }
        var result = self
        // A bucket that has fallen was scribbled on, now or then.
        for index in bucketCounts.indices {
            let (now, before) = (bucketCounts[index], earlier.bucketCounts[index])
            result.bucketCounts[index] = now > before ? now - before : 0
        }
        result.count = result.bucketCounts.reduce(0) { $0.saturatingSum($1) }
        result.sum = sum - earlier.sum
        return result
    }
}
