// SPDX-License-Identifier: Apache-2.0

import CMusterBench

/// The lines of an exposition taken apart, for a reference that only puts them together again.
final class ExpositionLines {
    private let text: UnsafeMutablePointer<UInt8>
    private let target: UnsafeMutablePointer<UInt8>
    private let lines: [cmusterbench_line]

    /// Takes apart a text whose values are all whole numbers.
    init(_ bytes: [UInt8]) {
        text = .allocate(capacity: bytes.count)
        text.initialize(from: bytes, count: bytes.count)
        target = .allocate(capacity: bytes.count + 32)
        target.initialize(repeating: 0, count: bytes.count + 32)
        var lines: [cmusterbench_line] = []
        var start = 0
        for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: true) {
            var length = line.count
            var value: UInt64?
            if line.first != UInt8(ascii: "#"), let space = line.lastIndex(of: UInt8(ascii: " ")) {
                value = UInt64(String(decoding: line[(space + 1)...], as: UTF8.self))
                if value != nil { length = space + 1 - line.startIndex }
            }
            lines.append(
                cmusterbench_line(
                    text: text + start, length: length, value: value ?? 0, has_value: value != nil))
            start += line.count + 1
        }
        self.lines = lines
    }

    deinit {
        text.deallocate()
        target.deallocate()
    }

    var valueCount: Int { lines.count { $0.has_value } }

    func render() -> [UInt8] {
        let count = cmusterbench_render(lines, lines.count, target)
        return Array(UnsafeBufferPointer(start: target, count: count))
    }

    func renderAgain() {
        _ = cmusterbench_render(lines, lines.count, target)
    }
}
