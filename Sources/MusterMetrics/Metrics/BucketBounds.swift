// SPDX-License-Identifier: Apache-2.0

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
