// SPDX-License-Identifier: Apache-2.0

public import Synchronization

/// A value that goes up and down.
///
/// It is exported from the first time this process sets it until it is cleared or a later process attaches to the
/// arena, so that nobody sees a dead process' value.
public struct GaugeMetric: Sendable {
    // Two cells: the value's bits, and the epoch in which it was set (0: not set). The memory behind the pointer
    // lives as long as `storage` and is touched by atomics only.
    @usableFromInline nonisolated(unsafe) let cells: UnsafeMutablePointer<Atomic<UInt64>>
    @usableFromInline let storage: MetricStorage

    init(cells: UnsafeMutablePointer<Atomic<UInt64>>, storage: MetricStorage) {
        self.cells = cells
        self.storage = storage
    }

    /// Sets the value.
    ///
    /// - Parameter value: The value in the metric's unit; infinities and NaN are exported as they are.
    @inlinable
    @inline(__always)
    public func set(_ value: Double) {
        guard storage.isCurrent else { return }
        cells.pointee.store(value.bitPattern, ordering: .relaxed)
        (cells + 1).pointee.store(storage.epoch, ordering: .releasing)
    }

    /// Changes the value; one that is not set counts from 0.
    ///
    /// - Parameter amount: By how much; what is no finite number is ignored, counted and logged once.
    @inlinable
    @inline(__always)
    public func add(_ amount: Double) {
        guard amount.isFinite else {
            storage.refuseUpdate(of: cells, because: "a gauge changes by finite amounts only")
            return
        }
        guard storage.isCurrent else { return }
        cells.addDouble(amount)
        (cells + 1).pointee.store(storage.epoch, ordering: .releasing)
    }

    /// Adds 1.
    @inlinable
    public func increment() {
        add(1)
    }

    /// Subtracts 1.
    @inlinable
    public func decrement() {
        add(-1)
    }

    /// Takes the series out of the exposition until it is set again.
    public func clear() {
        guard storage.isCurrent else { return }
        (cells + 1).pointee.store(0, ordering: .relaxed)
        cells.pointee.store(0, ordering: .releasing)
    }

    /// The value; `nil` when it is not set.
    public var value: Double? {
        guard storage.isCurrent, (cells + 1).pointee.load(ordering: .acquiring) == storage.epoch else { return nil }
        return Double(bitPattern: cells.pointee.load(ordering: .relaxed))
    }
}
