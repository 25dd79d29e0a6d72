// SPDX-License-Identifier: Apache-2.0

/// Amounts as people read them, the same in messages, tables and pages.
package enum PlainText {
    /// A time span to three digits, or in its two largest units: `420 µs`, `3.2 ms`, `12.5 s`, `4m 12s`, `3h 05m`,
    /// `2d 04h`. `nil` for what is not a finite number.
    package static func duration(_ seconds: Double) -> String? {
        guard seconds.isFinite, seconds.magnitude < 1e12 else { return nil }
        let size = seconds.magnitude
        let sign = seconds < 0 ? "-" : ""
        switch size {
        case ..<5e-10: return "0 s"
        case ..<0.9995e-6: return sign + number(size * 1e9) + " ns"
        case ..<0.9995e-3: return sign + number(size * 1e6) + " µs"
        case ..<0.9995: return sign + number(size * 1e3) + " ms"
        case ..<99.95: return sign + number(size) + " s"
        default: break
        }
        let whole = Int(size.rounded())
        if whole < 3600 { return sign + "\(whole / 60)m \(twoDigits(whole % 60))s" }
        if whole < 86_400 { return sign + "\(whole / 3600)h \(twoDigits(whole / 60 % 60))m" }
        return sign + "\(whole / 86_400)d \(twoDigits(whole / 3600 % 24))h"
    }

    /// An amount of memory: `812 B`, `1.5 KiB`, `19.4 MiB`. `nil` for what is not a size.
    package static func bytes(_ count: Double) -> String? {
        guard count >= 0, count < 1e18 else { return nil }
        var amount = count
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if amount < 999.5 { return number(amount) + " " + unit }
            amount /= 1024
        }
        return number(amount) + " TiB"
    }

    /// A number of things with their noun: `1 worker`, `2 workers`.
    package static func count(_ count: some BinaryInteger, _ noun: String) -> String {
        "\(count) \(noun)\(count == 1 ? "" : "s")"
    }

    /// A number to about three digits.
    ///
    /// - Parameter places: How many decimal places a number below 10 has at most.
    package static func number(_ value: Double, places: Int = 2) -> String {
        guard value.magnitude < 1e15 else { return "\(value)" }
        let places = value.magnitude >= 99.95 ? 0 : value.magnitude >= 9.995 ? min(1, places) : places
        let scale = places == 2 ? 100.0 : places == 1 ? 10.0 : 1
        let scaled = (value * scale).rounded()
        if scaled.truncatingRemainder(dividingBy: scale) == 0 { return String(Int(scaled / scale)) }
        return "\(scaled / scale)"
    }

    private static func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
}

extension Duration {
    /// The duration in one unit and without rounding beyond a thousandth of it, as a setting is told: `70 s`, `500 ms`,
    /// `1.5 s`.
    package var text: String {
        let seconds = inSeconds
        if seconds >= 1 || seconds <= 0 { return "\(Self.number(seconds)) s" }
        if seconds >= 1e-3 { return "\(Self.number(seconds * 1e3)) ms" }
        return "\(Self.number(seconds * 1e6)) µs"
    }

    private static func number(_ value: Double) -> String {
        let rounded = (value * 1000).rounded() / 1000
        return rounded == rounded.rounded() && rounded.magnitude < 0x1p63 ? "\(Int64(rounded))" : "\(rounded)"
    }
}

extension Unicode.Scalar {
    /// Whether the scalar could change a line, a terminal's state or the direction of writing instead of being shown.
    package var isControl: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: true
        default: false
        }
    }
}

extension String {
    /// The text on one line: a character in place of each control character.
    package func replacingControlCharacters(with replacement: Unicode.Scalar) -> String {
        guard unicodeScalars.contains(where: \.isControl) else { return self }
        var result = String.UnicodeScalarView()
        for scalar in unicodeScalars { result.append(scalar.isControl ? replacement : scalar) }
        return String(result)
    }
}
