// SPDX-License-Identifier: Apache-2.0

public import Synchronization

/// A distribution over buckets.
///
/// An observation is a search among the bounds and two atomic updates. One that is no finite number is ignored,
/// counted in `muster_metrics_dropped_updates_total` and logged once: it would spoil the sum for good.
public struct HistogramMetric: Sendable {
    // The sum's bits, then one count for each bucket, the one up to +Inf last. The memory behind the pointer lives
    // as long as `storage` and is touched by atomics only.
    @usableFromInline nonisolated(unsafe) let cells: UnsafeMutablePointer<Atomic<UInt64>>
    @usableFromInline let bounds: BucketBounds
    @usableFromInline let storage: MetricStorage

    init(cells: UnsafeMutablePointer<Atomic<UInt64>>, bounds: BucketBounds, storage: MetricStorage) {
        self.cells = cells
        self.bounds = bounds
        self.storage = storage
    }

    /// Records a value.
    ///
    /// - Parameter value: The value in the metric's unit.
    @inlinable
    @inline(__always)
    public func observe(_ value: Double) {
        guard value.isFinite else {
            storage.refuseUpdate(of: cells, because: "an observation must be a finite number")
            return
        }
        let first = bounds.first
        var low = 0
        var remaining = bounds.count
        // The first bound that is not below the value, without a branch that depends on the value.
        while remaining > 0 {
            let half = remaining >> 1
            let above = first[low + half] < value
            low = above ? low + half + 1 : low
            remaining = above ? remaining - half - 1 : half
        }
        (cells + (1 + low)).pointee.wrappingAdd(1, ordering: .relaxed)
        cells.addDouble(value)
    }

    /// Records a duration.
    ///
    /// - Parameter duration: The duration; recorded in seconds.
    @inlinable
    @inline(__always)
    public func observe(_ duration: Duration) {
        let attoseconds = duration.attoseconds
        // Splitting into seconds and their fraction would divide 128-bit numbers, at thrice the cost of the rest.
        let high = Int64(truncatingIfNeeded: attoseconds >> 64)
        let low = UInt64(truncatingIfNeeded: attoseconds)
        observe((Double(high) * 0x1p64 + Double(low)) / 1e18)
    }

    /// What was observed so far, including by earlier generations of the process.
    ///
    /// Observations made during the call may be missing from one of its parts.
    public func snapshot() -> HistogramSnapshot {
        let sum = Double(bitPattern: cells.pointee.load(ordering: .relaxed))
        let counts = (0...bounds.count).map { (cells + (1 + $0)).pointee.load(ordering: .relaxed) }
        return HistogramSnapshot(
            count: counts.reduce(0, &+), sum: sum,
            bounds: Array(UnsafeBufferPointer(start: bounds.first, count: bounds.count)), bucketCounts: counts)
    }
}
