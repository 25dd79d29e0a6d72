// SPDX-License-Identifier: Apache-2.0

/// Writes numbers as both exposition formats want them, without an intermediate string where that matters.
enum NumberFormat {
    /// The longest text any number takes.
    static let maximumLength = 32

    /// Writes an integer.
    ///
    /// - Returns: How many bytes were written, at most 20.
    @inline(__always)
    static func write(_ value: UInt64, to target: UnsafeMutablePointer<UInt8>) -> Int {
        var length = 1
        var limit: UInt64 = 10
        while value >= limit, length < 20 {
            length += 1
            let (next, overflow) = limit.multipliedReportingOverflow(by: 10)
            if overflow { break }
            limit = next
        }
        var rest = value
        var position = length
        while position > 0 {
            position -= 1
            let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
            target[position] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: digit)
            rest = quotient
        }
        return length
    }

    /// Writes a value: a whole number without a fraction or an exponent, anything else in the shortest form that
    /// reads back as the same double.
    ///
    /// - Returns: How many bytes were written.
    static func write(_ value: Double, to target: UnsafeMutablePointer<UInt8>) -> Int {
        if value.magnitude < 0x1p63, value == value.rounded(.towardZero) {
            guard value < 0 else { return write(UInt64(value), to: target) }
            target[0] = UInt8(ascii: "-")
            return 1 + write(UInt64(-value), to: target + 1)
        }
        return copy(value.isFinite ? value.description : special(value), to: target)
    }

    /// A bound as a label's value: OpenMetrics' canonical number, for example `0.005`, `1.0`, `1e+06`, `+Inf`.
    static func canonical(_ value: Double) -> String {
        guard value.isFinite else { return special(value) }
        let text = value.description
        // Swift changes to exponents at 2^54, the canonical form at a million.
        guard value.magnitude >= 1e6, !text.contains("e") else { return text }
        let isNegative = value < 0
        let parts = (isNegative ? text.dropFirst() : text[...]).split(separator: ".")
        let whole = parts.first ?? "0"
        let fraction = parts.count > 1 && parts[1] != "0" ? parts[1] : ""
        var digits = String(whole + fraction)
        while digits.count > 1, digits.hasSuffix("0") { digits.removeLast() }
        let exponent = whole.count - 1
        let mantissa = digits.count > 1 ? "\(digits.prefix(1)).\(digits.dropFirst())" : digits
        return "\(isNegative ? "-" : "")\(mantissa)e+\(exponent < 10 ? "0" : "")\(exponent)"
    }

    private static func special(_ value: Double) -> String {
        value.isNaN ? "NaN" : value < 0 ? "-Inf" : "+Inf"
    }

    private static func copy(_ text: String, to target: UnsafeMutablePointer<UInt8>) -> Int {
        var length = 0
        for byte in text.utf8.prefix(maximumLength) {
            target[length] = byte
            length += 1
        }
        return length
    }
}
