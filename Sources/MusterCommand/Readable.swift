// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// Amounts as people read them, in a few characters.
enum Readable {
    /// What stands for something that is not known.
    static let unknown = "-"

    /// A time span: `420 us`, `3.2 ms`, `12.5 s`, `4m 12s`, `3h 05m`, `2d 04h`.
    static func duration(_ seconds: Double?) -> String {
        guard let seconds, seconds.isFinite else { return unknown }
        let size = seconds.magnitude
        let sign = seconds < 0 ? "-" : ""
        if size < 1e-6 { return "0 s" }
        if size < 0.9995e-3 { return sign + figure(size * 1e6) + " us" }
        if size < 0.9995 { return sign + figure(size * 1e3) + " ms" }
        if size < 99.95 { return sign + figure(size) + " s" }
        guard size < 1e12 else { return unknown }
        let whole = Int(size.rounded())
        if whole < 3600 { return sign + "\(whole / 60)m \(twoDigits(whole % 60))s" }
        if whole < 86400 { return sign + "\(whole / 3600)h \(twoDigits(whole / 60 % 60))m" }
        return sign + "\(whole / 86400)d \(twoDigits(whole / 3600 % 24))h"
    }

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

    /// An amount of memory: `640 B`, `20.3 MB`.
    static func bytes(_ bytes: Double?) -> String {
        guard let bytes, bytes.isFinite, bytes >= 0, bytes < 1e18 else { return unknown }
        var amount = bytes
        for unit in ["B", "kB", "MB", "GB", "TB"] {
            if amount < 999.5 || unit == "TB" { return figure(amount) + " " + unit }
            amount /= 1000
        }
        return unknown
    }

    /// A share of one processor.
    static func percent(_ share: Double?) -> String {
        guard let share, share.isFinite, share.magnitude < 1e9 else { return unknown }
        return figure(share * 100) + " %"
    }

    /// A number of things.
    static func count(_ count: (some BinaryInteger)?) -> String { count.map { "\($0)" } ?? unknown }

    /// A number of things with its noun: `1 worker`, `2 workers`.
    static func count(_ count: Int, of noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

    /// About three digits that mean something.
    private static func figure(_ value: Double) -> String {
        if value >= 99.95 { return "\(Int(value.rounded()))" }
        let tenths = Int((value * 10).rounded())
        if value >= 9.995 || tenths % 10 == 0 && value >= 0.95 {
            return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
        }
        let hundredths = Int((value * 100).rounded())
        if hundredths % 100 == 0 { return "\(hundredths / 100)" }
        if hundredths % 10 == 0 { return "\(hundredths / 100).\(hundredths / 10 % 10)" }
        return "\(hundredths / 100).\(twoDigits(hundredths % 100))"
    }

    private static func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
}

extension Duration {
    /// The duration in seconds.
    var seconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) / 1e18
    }

    /// The duration as it is said: `70 s`, `500 ms`, `1.5 s`.
    var plain: String {
        let nanoseconds = seconds * 1e9
        if nanoseconds >= 1e9 || nanoseconds == 0 { return "\(Self.number(nanoseconds / 1e9)) s" }
        if nanoseconds >= 1e6 { return "\(Self.number(nanoseconds / 1e6)) ms" }
        return "\(Self.number(nanoseconds / 1e3)) us"
    }

    private static func number(_ value: Double) -> String {
        let rounded = (value * 1000).rounded() / 1000
        return rounded == rounded.rounded() ? "\(Int64(rounded))" : "\(rounded)"
    }
}

extension String {
    /// The text without what would change a terminal's line or state: control characters are shown as `?`.
    var onOneLine: String {
        guard unicodeScalars.contains(where: Self.isControl) else { return self }
        var result = String.UnicodeScalarView()
        for scalar in unicodeScalars { result.append(Self.isControl(scalar) ? "?" : scalar) }
        return String(result)
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        // Format characters turn the direction of writing, among others.
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: true
        default: false
        }
    }

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
    ///
    /// - Parameter json: The document.
    public static func onOneLine(_ json: [UInt8]) -> [UInt8] { lay(json, indent: nil) }

    /// The document with a line for each value.
    ///
    /// - Parameter json: The document.
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
