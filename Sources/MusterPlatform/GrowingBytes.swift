// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Bytes at an address that stays until room for more is made, so that they can be sent from where they were written.
///
/// It belongs to one thread at a time.
package final class GrowingBytes {
    /// Where the bytes begin.
    package private(set) var pointer: UnsafeMutablePointer<UInt8>
    /// How many bytes there are.
    package var count = 0
    /// For how many there is room.
    package private(set) var capacity: Int

    /// Creates memory without content.
    package init(capacity: Int = 4096) {
        self.capacity = max(capacity, 1)
        pointer = Self.checked(malloc(self.capacity))
    }

    deinit {
        free(pointer)
    }

    /// The bytes, for as long as the closure runs.
    package func withBytes<Result, Failure: Error>(
        _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeBufferPointer(start: pointer, count: count))
    }

    /// Replaces the content.
    package func replace(with bytes: UnsafeBufferPointer<UInt8>) {
        count = 0
        reserve(bytes.count)
        if let source = bytes.baseAddress { pointer.update(from: source, count: bytes.count) }
        count = bytes.count
    }

    /// Makes room behind the content, and some more, so that what grows a little does not move each time.
    package func reserve(_ more: Int) {
        guard capacity - count < more else { return }
        let needed = count + more
        capacity = needed + max(needed / 4, 4096)
        // Large memory is moved by the kernel's page tables, not copied.
        pointer = Self.checked(realloc(pointer, capacity))
    }

    /// As Swift's own containers, it does not go on without memory.
    private static func checked(_ memory: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<UInt8> {
        guard let memory else { preconditionFailure("out of memory") }
        return memory.assumingMemoryBound(to: UInt8.self)
    }
}
