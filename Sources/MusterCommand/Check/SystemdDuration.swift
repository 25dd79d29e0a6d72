// SPDX-License-Identifier: Apache-2.0

/// A time span as units have it (systemd.time(7)): `90`, `1min 30s`, `infinity`.
enum SystemdDuration: Hashable, Sendable {
    case limited(Duration)
    case infinite

    private static let units: [String: Double] = {
        var units: [String: Double] = [:]
        for (names, seconds) in [
            (["us", "usec", "\u{B5}s", "\u{3BC}s"], 1e-6), (["ms", "msec"], 1e-3),
            (["s", "sec", "second", "seconds"], 1), (["m", "min", "minute", "minutes"], 60),
            (["h", "hr", "hour", "hours"], 3600), (["d", "day", "days"], 86400),
            (["w", "week", "weeks"], 604_800), (["M", "month", "months"], 2_629_800),
            (["y", "year", "years"], 31_557_600),
        ] as [([String], Double)] {
            for name in names { units[name] = seconds }
        }
        return units
    }()

    /// Reads a time span.
    ///
    /// - Parameter text: The text; `nil` is returned for one that is no time span.
    init?(parsing text: String) {
        if text == "infinity" {
            self = .infinite
            return
        }
        var seconds = 0.0
        var rest = text[...].drop { $0.isWhitespace }
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            guard let number = Double(digits) else { return nil }
            rest = rest[digits.endIndex...].drop { $0.isWhitespace }
            let unit = rest.prefix { !$0.isWhitespace && !($0.isASCII && $0.isNumber) }
            guard let factor = unit.isEmpty ? 1 : Self.units[String(unit)] else { return nil }
            seconds += number * factor
            rest = rest[unit.endIndex...].drop { $0.isWhitespace }
        }
        guard seconds < 9e9 else {
            self = .infinite
            return
        }
        self = .limited(.seconds(seconds))
    }
}
