// SPDX-License-Identifier: Apache-2.0

public import Synchronization

/// A total of whole things that only rises. An update is one atomic add.
public struct CounterMetric: Sendable {
    // The memory behind the pointer lives as long as `storage` and is touched by atomics only.
    @usableFromInline nonisolated(unsafe) let cell: UnsafeMutablePointer<Atomic<UInt64>>
    @usableFromInline let storage: MetricStorage

    init(cell: UnsafeMutablePointer<Atomic<UInt64>>, storage: MetricStorage) {
        self.cell = cell
        self.storage = storage
    }

    /// Adds one.
    @inlinable
    @inline(__always)
    public func increment() {
        cell.pointee.wrappingAdd(1, ordering: .relaxed)
    }

    /// Adds a number of things.
    ///
    /// - Parameter amount: How many; a negative number is ignored, counted and logged once.
    @inlinable
    @inline(__always)
    public func increment(by amount: Int) {
        guard amount >= 0 else {
            storage.refuseUpdate(of: cell, because: "a counter cannot fall")
            return
        }
        cell.pointee.wrappingAdd(UInt64(truncatingIfNeeded: amount), ordering: .relaxed)
    }

    /// The total, including those of earlier generations of the process.
    public var value: UInt64 {
        cell.pointee.load(ordering: .relaxed)
    }

    /// Starts again from 0, which Prometheus takes for a restart.
    func reset() {
        cell.pointee.store(0, ordering: .relaxed)
    }
}
