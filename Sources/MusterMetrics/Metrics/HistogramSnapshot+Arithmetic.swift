// SPDX-License-Identifier: Apache-2.0

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
        count = RenderedFamily.saturatingSum(count, other.count)
        sum += other.sum
        for index in bucketCounts.indices {
            bucketCounts[index] = RenderedFamily.saturatingSum(bucketCounts[index], other.bucketCounts[index])
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
        result.count = result.bucketCounts.reduce(0, RenderedFamily.saturatingSum)
        result.sum = sum - earlier.sum
        return result
    }
}
