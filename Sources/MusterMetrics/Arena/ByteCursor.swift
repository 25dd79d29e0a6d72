// SPDX-License-Identifier: Apache-2.0

/// Reads little-endian numbers and strings from bytes that may say anything.
struct ByteCursor {
    private let bytes: [UInt8]
    private let base: Int
    private let start: Int
    private var position: Int
    private var end: Int

    init(_ bytes: [UInt8], from start: Int, to end: Int, base: Int) {
        self.bytes = bytes
        self.base = base
        self.start = start
        self.position = start
        self.end = end
    }

    mutating func limit(to end: Int) {
        self.end = min(self.end, end)
    }

    /// An error about the record that the cursor reads.
    func error(_ reason: String) -> ArenaError {
        .invalidRecord(offset: base + start, reason: reason)
    }

    mutating func uint8() throws(ArenaError) -> UInt8 { UInt8(truncatingIfNeeded: try word(1)) }
    mutating func uint16() throws(ArenaError) -> UInt16 { UInt16(truncatingIfNeeded: try word(2)) }
    mutating func uint32() throws(ArenaError) -> UInt32 { UInt32(truncatingIfNeeded: try word(4)) }
    mutating func uint64() throws(ArenaError) -> UInt64 { try word(8) }

    mutating func string(_ count: Int) throws(ArenaError) -> String {
        guard count <= end - position else { throw error("a string of \(count) bytes runs over the record's end") }
        guard let string = String(validating: bytes[position..<position + count], as: UTF8.self) else {
            throw error("a string is not UTF-8")
        }
        position += count
        return string
    }

    /// Checks that nothing but padding is left.
    func finish() throws(ArenaError) {
        guard end - position < 8 else { throw error("\(end - position) bytes are left over") }
    }

    private mutating func word(_ count: Int) throws(ArenaError) -> UInt64 {
        guard count <= end - position else { throw error("the record is too short") }
        var word: UInt64 = 0
        for index in 0..<count { word |= UInt64(bytes[position + index]) << UInt64(8 * index) }
        position += count
        return word
    }
}
