// SPDX-License-Identifier: Apache-2.0

/// The bytes of one response's body, at an address that stays while the library sends them.
///
/// Belongs to the endpoint's thread.
final class BodyStorage {
    private(set) var pointer: UnsafeMutableRawPointer
    private(set) var capacity: Int
    var count = 0
    private let pool: BodyPool

    init(capacity: Int, pool: BodyPool) {
        self.capacity = capacity
        self.pool = pool
        pointer = .allocate(byteCount: capacity, alignment: 16)
    }

    deinit {
        pointer.deallocate()
    }

    /// Makes room; what was there is lost.
    func reserve(_ size: Int) {
        guard size > capacity else { return }
        pointer.deallocate()
        // Some more, so that a body that grows a little does not need new memory each time.
        capacity = size + size / 4
        pointer = .allocate(byteCount: capacity, alignment: 16)
    }

    func fill(_ bytes: UnsafeBufferPointer<UInt8>) {
        reserve(bytes.count)
        if let source = bytes.baseAddress { pointer.copyMemory(from: source, byteCount: bytes.count) }
        count = bytes.count
    }

    /// Says that the library does not need the bytes any more.
    func giveBack() {
        pool.take(self)
    }
}
