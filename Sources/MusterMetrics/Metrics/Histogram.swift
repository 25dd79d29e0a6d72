// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform

/// The upper bounds of a histogram's buckets; the bucket up to +Inf is added by itself.
public struct HistogramBuckets: Hashable, Sendable {
    /// The bounds, strictly rising; an observation belongs to the first bucket whose bound is not below it.
    package let bounds: [Double]
    /// The native buckets that are kept besides; `nil` for none.
    let native: NativeBuckets?
    private let layoutOnDemand = LayoutOnDemand()

    /// How they lie in memory.
    var layout: BucketLayout { layoutOnDemand.value(bounds, native) }
    /// Whether that had to be found out yet.
    var hasLayout: Bool { layoutOnDemand.isMade }

    /// Makes buckets from their upper bounds.
    ///
    /// - Parameter bounds: 1 to 200 finite, strictly rising numbers, in the metric's unit.
    /// - Throws: ``MetricError/invalidBuckets(_:)`` that says which bound is wrong.
    public init(_ bounds: [Double]) throws(MetricError) {
        try self.init(bounds, native: nil)
    }

    /// Checks what was read from an arena, for example.
    init(_ bounds: [Double], native: NativeBuckets?) throws(MetricError) {
        try Self.validate(bounds)
        // An arena's reader has one layout for all families with the usual buckets.
        for known in [Self.lateness, .preciseSeconds, .seconds] where known.bounds == bounds && known.native == native {
            self = known
            return
        }
        self.init(valid: bounds, native)
    }

    private init(valid bounds: [Double], _ native: NativeBuckets? = nil) {
        self.bounds = bounds
        self.native = native
    }

    /// These buckets, and a precise histogram with them: Prometheus' native buckets, each less than 10 % wide.
    ///
    /// Scrapers of the text formats see the buckets' bounds as before; one that asks for the protobuf format sees both.
    /// A series takes 8 bytes for each bucket, about 2 KiB for durations from 1 µs to 1000 s.
    ///
    /// - Parameter range: Where values are told apart, extended to powers of two: above 0, and at most 2^64 times as
    ///   much. What is below, also below 0, counts as if it were near 0; of what is above, no more is known than that.
    /// - Throws: ``MetricError/invalidBuckets(_:)`` when this is no such range.
    public func precise(_ range: ClosedRange<Double> = 1e-6...1000) throws(MetricError) -> HistogramBuckets {
        let (low, high) = (range.lowerBound, range.upperBound)
        guard low > 0, low.isNormal, high.isFinite,
            let native = NativeBuckets(
                lowestExponent: Int(low.exponent), highestExponent: Int(high.exponent) + (high.significand > 1 ? 1 : 0))
        else {
            throw .invalidBuckets(
                "precise from \(low) to \(high); the range must be above 0, between \(NativeBuckets.limits), and its end "
                    + "at most 2^\(NativeBuckets.maximumOctaves) times its beginning")
        }
        return try HistogramBuckets(bounds, native: native)
    }

    /// For durations in seconds, from 1 ms to 60 s.
    public static let seconds = HistogramBuckets(valid: secondsBounds)

    /// As ``seconds``, and precise.
    package static let preciseSeconds = HistogramBuckets(valid: secondsBounds, .durations)

    private static let secondsBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

    /// For how late something starts, in seconds, from 10 µs to 10 s, and precise.
    package static let lateness = HistogramBuckets(
        valid: [
            0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
            0.5, 1, 2.5, 5, 10,
        ], .durations)

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

/// The buckets of Prometheus' native histograms that a precise histogram keeps: eight for each power of two, schema 3.
struct NativeBuckets: Hashable, Sendable {
    static let schema = 3
    static let maximumOctaves = 64
    /// So far from the ends that the arithmetic with bit patterns stays simple.
    private static let exponents = -512...512
    static let limits = "2^\(exponents.lowerBound) and 2^\(exponents.upperBound)"

    /// Values up to 2 to this power are in the bucket around zero.
    let lowestExponent: Int
    let octaves: Int

    /// - Returns: `nil` when there are no or too many powers of two between the exponents.
    init?(lowestExponent: Int, highestExponent: Int) {
        guard Self.exponents.contains(lowestExponent), Self.exponents.contains(highestExponent),
            (1...Self.maximumOctaves).contains(highestExponent - lowestExponent)
        else { return nil }
        self.init(lowestExponent: lowestExponent, octaves: highestExponent - lowestExponent)
    }

    private init(lowestExponent: Int, octaves: Int) {
        self.lowestExponent = lowestExponent
        self.octaves = octaves
    }

    /// From 0.95 µs to 1024 s.
    static let durations = NativeBuckets(lowestExponent: -20, octaves: 30)

    /// The index, as Prometheus counts, of the bucket that ends with the bucket around zero: the first one is the next.
    var zeroIndex: Int { lowestExponent << Self.schema }
    /// The index of the last bucket.
    var lastIndex: Int { zeroIndex + octaves << Self.schema }

    /// The upper bound of a bucket, to the bit as Prometheus has it.
    static func bound(_ index: Int) -> Double {
        Double(
            sign: .plus, exponent: index >> schema + 1, significand: fractions[index & (1 << schema - 1)])
    }

    private static let fractions = [
        0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048, 0.7071067811865475, 0.7711054127039704,
        0.8408964152537144, 0.9170040432046711,
    ]
}

/// A layout that is made when it is first needed: an arena may describe thousands of families that have no series, and
/// each layout takes more memory than its description. It follows from the bounds, so that two are never different.
private final class LayoutOnDemand: Hashable, Sendable {
    private let made = Locked<BucketLayout?>(nil)

    var isMade: Bool { made.withLock { $0 != nil } }

    func value(_ bounds: [Double], _ native: NativeBuckets?) -> BucketLayout {
        made.withLock { made in
            let layout = made ?? BucketLayout(bounds, native)
            made = layout
            return layout
        }
    }

    static func == (first: LayoutOnDemand, second: LayoutOnDemand) -> Bool { true }

    func hash(into hasher: inout Hasher) {}
}

/// How a histogram's buckets lie in memory: their bounds are those that its family names and those of its native buckets,
/// so that one addition counts for both, exactly.
///
/// An observation reaches the bounds without a bounds check or a reference count.
@usableFromInline
final class BucketLayout: Sendable {
    // Written once, before anybody else knows the pointers; read only after that.
    @usableFromInline nonisolated(unsafe) let first: UnsafeMutablePointer<Double>
    @usableFromInline let count: Int
    /// Where to begin to look for a value, by the exponent and the first four bits of the fraction in its bit pattern.
    @usableFromInline nonisolated(unsafe) let starts: UnsafeMutablePointer<UInt16>
    @usableFromInline let slotCount: UInt
    @usableFromInline let firstSlot: UInt

    /// The bounds of all buckets.
    let bounds: [Double]
    /// For each bound that the family names, and for +Inf, the bucket that ends with it.
    let classicEnds: [UInt16]
    let native: NativeBuckets?
    /// The same for the bucket around zero, each native bucket, and what lies beyond the last one; empty without.
    let nativeEnds: [UInt16]

    init(_ classic: [Double], _ native: NativeBuckets?) {
        let nativeBounds = native.map { ($0.zeroIndex...$0.lastIndex).map(NativeBuckets.bound) } ?? []
        var bounds: [Double] = []
        for bound in (classic + nativeBounds).sorted() where bounds.last != bound { bounds.append(bound) }
        func ends(_ own: [Double]) -> [UInt16] {
            var place = 0
            var ends: [UInt16] = []
            for bound in own {
                while bounds[place] < bound { place += 1 }
                ends.append(UInt16(place))
            }
            return ends + [UInt16(bounds.count)]
        }
        self.bounds = bounds
        self.native = native
        classicEnds = ends(classic)
        nativeEnds = nativeBounds.isEmpty ? [] : ends(nativeBounds)
        count = bounds.count
        first = .allocate(capacity: max(bounds.count, 1))
        first.initialize(from: bounds, count: bounds.count)
        firstSlot = native.map { UInt(NativeBuckets.bound($0.zeroIndex).bitPattern >> 48) } ?? 0
        slotCount = native.map { UInt($0.octaves) << 4 } ?? 0
        starts = .allocate(capacity: max(Int(slotCount), 1))
        var start = 0
        for slot in 0..<Int(slotCount) {
            let low = Double(bitPattern: (UInt64(firstSlot) + UInt64(slot)) << 48)
            while bounds[start] < low { start += 1 }
            (starts + slot).initialize(to: UInt16(start))
        }
    }

    deinit {
        first.deallocate()
        starts.deallocate()
    }

    /// The first bucket whose bound is not below a finite value.
    @inlinable
    @inline(__always)
    func bucket(of value: Double) -> Int {
        let slot = UInt(truncatingIfNeeded: value.bitPattern &>> 48) &- firstSlot
        if slot < slotCount {
            // A slot has one native bound at most: as good as always one step, without a branch that depends on the value.
            var bucket = Int(starts[Int(bitPattern: slot)])
            bucket &+= first[bucket] < value ? 1 : 0
            while first[bucket] < value { bucket &+= 1 }
            return bucket
        }
        var low = 0
        var remaining = count
        while remaining > 0 {
            let half = remaining >> 1
            let above = first[low + half] < value
            low = above ? low + half + 1 : low
            remaining = above ? remaining - half - 1 : half
        }
        return low
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
