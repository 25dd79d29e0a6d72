// SPDX-License-Identifier: Apache-2.0

public import Synchronization

/// A total of a quantity, such as seconds, that only rises.
public struct FloatingPointCounterMetric: Sendable {
    // The memory behind the pointer lives as long as `storage` and is touched by atomics only.
    @usableFromInline nonisolated(unsafe) let cell: UnsafeMutablePointer<Atomic<UInt64>>
    @usableFromInline let storage: MetricStorage

    init(cell: UnsafeMutablePointer<Atomic<UInt64>>, storage: MetricStorage) {
        self.cell = cell
        self.storage = storage
    }

    /// Adds an amount.
    ///
    /// - Parameter amount: How much, in the metric's unit; what is negative or no finite number is ignored, counted
    ///   and logged once.
    @inlinable
    @inline(__always)
    public func increment(by amount: Double) {
        guard amount >= 0, amount.isFinite else {
            storage.refuseUpdate(of: cell, because: "a counter rises by finite amounts only")
            return
        }
        cell.addDouble(amount)
    }

    /// The total, including those of earlier generations of the process.
    public var value: Double {
        Double(bitPattern: cell.pointee.load(ordering: .relaxed))
    }

    /// Starts again from 0, which Prometheus takes for a restart.
    func reset() {
        cell.pointee.store(0, ordering: .relaxed)
    }
}
