// SPDX-License-Identifier: Apache-2.0

public import Synchronization

extension UnsafeMutablePointer where Pointee == Atomic<UInt64> {
    /// Adds to the double whose bits the cell holds.
    @inlinable
    @inline(__always)
    func addDouble(_ amount: Double) {
        var old = pointee.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (exchanged, original) = pointee.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
            if exchanged { return }
            old = original
        }
    }
}
