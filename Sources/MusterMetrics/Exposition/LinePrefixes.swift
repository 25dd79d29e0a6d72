// SPDX-License-Identifier: Apache-2.0

/// Walks through the beginnings of a family's lines, one after the other.
struct LinePrefixes {
    /// The beginnings, one behind the other.
    let text: UnsafeBufferPointer<UInt8>
    /// Where each ends in the text.
    let ends: UnsafeBufferPointer<Int>
    private var line = 0
    private var start = 0

    init(text: UnsafeBufferPointer<UInt8>, ends: UnsafeBufferPointer<Int>) {
        self.text = text
        self.ends = ends
    }

    /// The next one; asked for no more often than there are lines.
    @inline(__always)
    mutating func next() -> UnsafeBufferPointer<UInt8> {
        let end = ends[line]
        defer {
            start = end
            line += 1
        }
        return UnsafeBufferPointer(rebasing: text[start..<end])
    }
}
