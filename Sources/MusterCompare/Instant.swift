// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials

/// Instants as text.
package enum Instant {
    /// Seconds with three decimals and no exponent.
    static func text(_ seconds: Double) -> String {
        let milliseconds = Int((seconds * 1000).rounded())
        let rest = "\(milliseconds % 1000)"
        return "\(milliseconds / 1000)." + String(repeating: "0", count: 3 - rest.count) + rest
    }

    /// RFC 3339, in UTC.
    static func date(_ seconds: Double) -> String {
        Date(timeIntervalSince1970: seconds.rounded()).formatted(.iso8601)
    }

    /// Until the year 9999, which is the last that RFC 3339 knows.
    private static let known = 0..<253_402_300_800.0

    /// Reads seconds since 1970, or RFC 3339; `nil` for anything else.
    package static func instant(_ text: String) -> Double? {
        let seconds = Double(text) ?? (try? Date(text, strategy: .iso8601))?.timeIntervalSince1970
        return seconds.flatMap { known.contains($0) ? $0 : nil }
    }
}
