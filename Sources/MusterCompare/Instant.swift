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

    /// Reads seconds since 1970, or RFC 3339.
    package static func instant(_ text: String) -> Double? {
        if let seconds = Double(text), seconds > 0 { return seconds }
        return (try? Date(text, strategy: .iso8601))?.timeIntervalSince1970
    }
}
