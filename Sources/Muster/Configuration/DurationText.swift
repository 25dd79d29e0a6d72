// SPDX-License-Identifier: Apache-2.0

extension Duration {
    private static let units: [(suffix: String, nanoseconds: Double)] = [
        ("ns", 1), ("us", 1e3), ("\u{B5}s", 1e3), ("\u{3BC}s", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9),
        ("h", 3600e9), ("d", 86400e9),
    ]

    /// Reads a duration as people write it in settings: `10ms`, `1s`, `1.5m`, `2h`; a bare number is in seconds.
    ///
    /// - Parameter text: The text; `nil` is returned for one that is no duration, and for a negative one.
    public init?(parsing text: String) {
        // Longer suffixes first: "ms" ends with "s".
        let unit = Self.units.sorted { $0.suffix.count > $1.suffix.count }.first { text.hasSuffix($0.suffix) }
        let digits = unit.map { text.dropLast($0.suffix.count) } ?? text[...]
        let isPlain = digits.allSatisfy { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard isPlain, let number = Double(digits) else { return nil }
        let nanoseconds = number * (unit?.nanoseconds ?? 1e9)
        guard nanoseconds < 9.2e18 else { return nil }
        self = .nanoseconds(Int64(nanoseconds.rounded()))
    }
}
