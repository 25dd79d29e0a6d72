// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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
