// SPDX-License-Identifier: Apache-2.0

/// Reads durations as Go writes them: `1s`, `100ms`, `1m30s`, `1.5h`.
enum GoDuration {
    private static let units: [(name: String, seconds: Double)] = [
        ("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1), ("m", 60), ("h", 3600),
    ]

    /// - Returns: `nil` for what is none.
    static func read(_ text: String) -> Duration? {
        if text == "0" { return .zero }
        var rest = Substring(text)
        var seconds = 0.0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { ($0.isASCII && $0.isWholeNumber) || $0 == "." }
            guard let number = Double(digits), digits.first != nil else { return nil }
            rest = rest.dropFirst(digits.count)
            let name = rest.prefix { $0.isLetter }
            guard let unit = units.first(where: { $0.name == name }) else { return nil }
            rest = rest.dropFirst(name.count)
            seconds += number * unit.seconds
        }
        return seconds < 1e9 ? .seconds(seconds) : nil
    }
}
