// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Remembers what the last few distinct values of a header came to. Scrapers and probes send the same ones for ever,
/// so that nothing is parsed, and nothing allocated, in the long run.
struct HeaderMemo<Value> {
    private struct Entry {
        var header: [CChar]
        var value: Value
    }

    private static var capacity: Int { 4 }
    private static var longestHeader: Int { 2048 }

    private var entries: [Entry] = []
    private var next = 0

    init() {}

    /// The header's meaning.
    ///
    /// - Parameters:
    ///   - header: The header's value as a C string.
    ///   - read: Reads it.
    mutating func value(of header: UnsafePointer<CChar>, _ read: (String) -> Value) -> Value {
        for entry in entries where entry.header.withUnsafeBufferPointer({ same($0, header) }) {
            return entry.value
        }
        let value = read(String(cString: header))
        let length = strlen(header)
        guard length <= Self.longestHeader else { return value }
        let entry = Entry(header: Array(UnsafeBufferPointer(start: header, count: length + 1)), value: value)
        if entries.count < Self.capacity {
            entries.append(entry)
        } else {
            entries[next] = entry
            next = (next + 1) % Self.capacity
        }
        return value
    }

    private func same(_ known: UnsafeBufferPointer<CChar>, _ header: UnsafePointer<CChar>) -> Bool {
        guard let base = known.baseAddress else { return false }
        return strcmp(base, header) == 0
    }
}
