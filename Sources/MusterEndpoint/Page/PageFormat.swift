// SPDX-License-Identifier: Apache-2.0

/// Numbers as people read them.
enum PageFormat {
    /// What stands for a value that is not known.
    static let unknown = "–"

    /// A short duration, to two or three digits: `0 s`, `12 µs`, `1.5 ms`, `2.4 s`; from a minute on as ``span(_:)``.
    static func duration(_ seconds: Double?) -> String {
        guard let seconds, seconds.isFinite else { return unknown }
        let sign = seconds < 0 ? "−" : ""
        let amount = seconds.magnitude
        switch amount {
        case ..<5e-10: return "0 s"
        case ..<9.995e-7: return sign + digits(amount * 1e9) + " ns"
        case ..<9.995e-4: return sign + digits(amount * 1e6) + " µs"
        case ..<0.9995: return sign + digits(amount * 1e3) + " ms"
        case ..<59.95: return sign + digits(amount) + " s"
        default: return sign + span(amount)
        }
    }

    /// A long duration in its two largest units: `42 s`, `3 min 12 s`, `4 h 3 min`, `5 d 2 h`.
    static func span(_ seconds: Double?) -> String {
        guard let seconds, seconds.isFinite else { return unknown }
        let whole = Int(min(max(0, seconds), 1e12).rounded(.down))
        if whole < 60 { return "\(whole) s" }
        let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")]
        guard let first = units.firstIndex(where: { whole >= $0.0 }) else { return "\(whole) s" }
        let (size, name) = units[first]
        let rest = whole % size / units[first + 1].0
        return rest == 0 ? "\(whole / size) \(name)" : "\(whole / size) \(name) \(rest) \(units[first + 1].1)"
    }

    /// When something was, or will be, seen from now.
    static func moment(_ instant: Double, from now: Double) -> String {
        let distance = instant - now
        guard distance.isFinite else { return unknown }
        if distance.magnitude < 1 { return "now" }
        return distance < 0 ? "\(span(-distance)) ago" : "in \(span(distance))"
    }

    /// Bytes: `812 B`, `1.5 KiB`, `23 MiB`.
    static func bytes(_ count: Double?) -> String {
        guard let count, count.isFinite, count >= 0 else { return unknown }
        var amount = count
        for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
            if amount < 999.5 || unit == "TiB" { return "\(digits(amount)) \(unit)" }
            amount /= 1024
        }
        return unknown
    }

    /// A whole number with thin spaces between its groups of three.
    static func count(_ number: UInt64) -> String {
        let digits = Array(String(number))
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text += "\u{202F}" }
            text.append(digit)
        }
        return text
    }

    static func count(_ number: Int?) -> String { number.map { count(UInt64(max(0, $0))) } ?? unknown }

    /// A share of a processor in per cent.
    static func percent(_ cores: Double?) -> String {
        guard let cores, cores.isFinite else { return unknown }
        return digits(cores * 100, fraction: 1) + " %"
    }

    /// An instant as RFC 3339 writes it, in UTC; `nil` for one that is no date of ours.
    static func timestamp(_ secondsSinceEpoch: Double) -> String? {
        guard (0..<253_402_300_799).contains(secondsSinceEpoch) else { return nil }
        return HealthReport.timestamp(secondsSinceEpoch)
    }

    /// Three digits at most before the point and, below ten, one or two behind it.
    private static func digits(_ number: Double, fraction: Int = 2) -> String {
        guard number.magnitude < 1e15 else { return "\(number)" }
        let places = number.magnitude >= 99.95 ? 0 : number.magnitude >= 9.995 ? min(1, fraction) : fraction
        let scale = places == 2 ? 100.0 : places == 1 ? 10.0 : 1
        let scaled = (number * scale).rounded()
        if places == 0 || scaled.truncatingRemainder(dividingBy: scale) == 0 { return String(Int(scaled / scale)) }
        return "\(scaled / scale)"
    }
}
