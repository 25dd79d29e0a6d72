// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// Amounts as people read them, in a few characters.
enum Readable {
    /// What stands for something that is not known.
    static let unknown = "-"

    /// A time span.
    static func duration(_ seconds: Double?) -> String { seconds.flatMap(PlainText.duration) ?? unknown }

    /// How long ago something was.
    static func ago(_ instant: Double?, from now: Double) -> String {
        guard let instant else { return unknown }
        return duration(max(0, now - instant)) + " ago"
    }

    /// When something will be.
    static func ahead(_ instant: Double?, from now: Double) -> String {
        guard let instant else { return unknown }
        return instant >= now ? "in " + duration(instant - now) : duration(now - instant) + " over"
    }

    /// An amount of memory.
    static func bytes(_ bytes: Double?) -> String { bytes.flatMap(PlainText.bytes) ?? unknown }

    /// A share of one processor.
    static func percent(_ share: Double?) -> String {
        guard let share, share.isFinite, share.magnitude < 1e9 else { return unknown }
        return PlainText.number(share * 100) + " %"
    }

    /// A number of things.
    static func count(_ count: (some BinaryInteger)?) -> String { count.map { "\($0)" } ?? unknown }

}

extension String {
    /// The text without what would change a terminal's line or state.
    var onOneLine: String { replacingControlCharacters(with: "?") }

    /// The text without white space around it.
    var trimmed: String {
        guard let first = firstIndex(where: { !$0.isWhitespace }), let last = lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return String(self[first...last])
    }
}

/// JSON as it was received, with other white space: nothing is read and written anew, so that nothing changes.
public enum JSONText {
    /// The document on one line.
    public static func onOneLine(_ json: [UInt8]) -> [UInt8] { lay(json, indent: nil) }

    /// The document with a line for each value.
    public static func pretty(_ json: [UInt8]) -> [UInt8] { lay(json, indent: 2) }

    private static func lay(_ json: [UInt8], indent: Int?) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(json.count * (indent == nil ? 1 : 2))
        var depth = 0
        var isText = false
        var isEscaped = false
        var previous: UInt8 = 0
        func newLine() {
            guard let indent else { return }
            result.append(0x0A)
            result.append(contentsOf: repeatElement(0x20, count: max(0, depth) * indent))
        }
        for byte in json {
            if isText {
                result.append(byte)
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isText = false
                }
                previous = byte
                continue
            }
            if byte <= 0x20 { continue }
            let isClosing = byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]")
            let wasOpening = previous == UInt8(ascii: "{") || previous == UInt8(ascii: "[")
            if isClosing { depth -= 1 }
            // Nothing between brackets stays so.
            if isClosing != wasOpening { newLine() }
            if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") { depth += 1 }
            if byte == UInt8(ascii: "\"") { isText = true }
            result.append(byte)
            if byte == UInt8(ascii: ",") { newLine() }
            if byte == UInt8(ascii: ":"), indent != nil { result.append(0x20) }
            previous = byte
        }
        return result
    }
}
