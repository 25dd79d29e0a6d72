// SPDX-License-Identifier: Apache-2.0

/// A histogram's buckets, in ascending order, and the sum of what was observed.
package struct Buckets: Hashable, Sendable {
    /// A bucket: how many values were above `low` and at most `high`.
    package struct Bucket: Hashable, Sendable {
        package var low: Double
        package var high: Double
        package var count: Double

        package init(low: Double, high: Double, count: Double) {
            self.low = low
            self.high = high
            self.count = count
        }
    }

    package var buckets: [Bucket]
    package var sum: Double

    package init(buckets: [Bucket], sum: Double) {
        self.buckets = buckets
        self.sum = sum
    }

    /// Reads classic buckets: how many values were at most each bound.
    package init(cumulative: [(bound: Double, count: Double)], sum: Double) {
        var low = 0.0
        var before = 0.0
        buckets = cumulative.sorted { $0.bound < $1.bound }.map { bound, count in
            defer { (low, before) = (bound, max(before, count)) }
            return Bucket(low: low, high: bound, count: max(0, count - before))
        }
        self.sum = sum
    }

    package var count: Double { buckets.reduce(0) { $0 + $1.count } }

    /// A quantile, and the bounds of the bucket that it lies in.
    package func quantile(_ q: Double) -> Observation? {
        let count = count
        guard count > 0 else { return nil }
        var before = 0.0
        for bucket in buckets where bucket.count > 0 {
            if before + bucket.count >= q * count * (1 - 1e-12) {
                guard bucket.high.isFinite else { return Observation(bucket.low, bucket.low, bucket.low * 1000) }
                let share = min(1, max(0, (q * count - before) / bucket.count))
                return Observation(bucket.low + (bucket.high - bucket.low) * share, bucket.low, bucket.high)
            }
            before += bucket.count
        }
        return nil
    }

    /// The mean, which the buckets' widths do not blur.
    package var mean: Double? { count > 0 ? sum / count : nil }

    /// What was observed in either.
    package func adding(_ other: Buckets) -> Buckets { combining(other, +) }

    /// What was observed since an earlier state.
    package func subtracting(_ earlier: Buckets) -> Buckets { combining(earlier, -) }

    private func combining(_ other: Buckets, _ operation: (Double, Double) -> Double) -> Buckets {
        var counts: [Double: Bucket] = [:]
        for bucket in buckets { counts[bucket.high] = bucket }
        for bucket in other.buckets {
            let old = counts[bucket.high] ?? Bucket(low: bucket.low, high: bucket.high, count: 0)
            // A wider bucket was split since: its lower bound has moved.
            counts[bucket.high] = Bucket(
                low: max(old.low, bucket.low), high: old.high, count: max(0, operation(old.count, bucket.count)))
        }
        return Buckets(buckets: counts.values.sorted { $0.high < $1.high }, sum: operation(sum, other.sum))
    }
}

/// A value of a quantity, and the bounds that the true one lies in: they differ where it was read from buckets.
package struct Observation: Hashable, Sendable {
    package var value: Double
    package var low: Double
    package var high: Double

    package init(_ value: Double, _ low: Double? = nil, _ high: Double? = nil) {
        self.value = value
        self.low = low ?? value
        self.high = high ?? value
    }
}

/// What a unit's metrics said of one stretch of time: increases of counters, gauges, and what was observed in it.
/// Series of one name are added up; of a gauge in `largest`, the largest counts.
package struct Block: Hashable, Sendable {
    /// Gauges that would mean nothing added up.
    package static let largest: Set = ["muster_loop_drift_seconds"]

    package var seconds: Double
    package var increases: [String: Double] = [:]
    package var gauges: [String: Double] = [:]
    package var histograms: [String: Buckets] = [:]

    package init(seconds: Double) {
        self.seconds = seconds
    }

    package mutating func addGauge(_ name: String, _ value: Double) {
        let old = gauges[name]
        gauges[name] = Self.largest.contains(name) ? max(old ?? value, value) : (old ?? 0) + value
    }

    /// The two stretches as one.
    package func merging(_ other: Block) -> Block {
        var result = self
        result.seconds += other.seconds
        result.increases.merge(other.increases) { $0 + $1 }
        result.histograms.merge(other.histograms) { $0.adding($1) }
        // The later ones.
        result.gauges.merge(other.gauges) { $1 }
        return result
    }
}
