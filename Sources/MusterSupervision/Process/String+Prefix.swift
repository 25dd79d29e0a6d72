// SPDX-License-Identifier: Apache-2.0

extension String {
    /// The bytes of the longest beginning that fits, cut between characters' code points.
    func utf8Prefix(_ room: Int) -> [UInt8] {
        let bytes = utf8
        guard bytes.count > room else { return Array(bytes) }
        var prefix = Array(bytes.prefix(room + 1))
        // A byte 10xxxxxx goes on with the code point before it.
        while let last = prefix.popLast(), last & 0xC0 == 0x80 {}
        return prefix
    }
}
