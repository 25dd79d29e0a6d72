// SPDX-License-Identifier: Apache-2.0

/// A histogram's content at one moment.
public struct HistogramSnapshot: Hashable, Sendable {
    /// How many observations were made.
    public var count: UInt64
    /// The sum of all observations.
    public var sum: Double
    /// The upper bounds of the buckets.
    public var bounds: [Double]
    /// How many observations fell into each bucket, not cumulated; the last one is the bucket up to +Inf.
    public var bucketCounts: [UInt64]

    /// Creates a histogram's content.
    ///
    /// - Parameters:
    ///   - count: How many observations were made.
    ///   - sum: The sum of all observations.
    ///   - bounds: The upper bounds of the buckets.
    ///   - bucketCounts: How many observations fell into each bucket, and beyond the last bound.
    public init(count: UInt64, sum: Double, bounds: [Double], bucketCounts: [UInt64]) {
        self.count = count
        self.sum = sum
        self.bounds = bounds
        self.bucketCounts = bucketCounts
    }
}
