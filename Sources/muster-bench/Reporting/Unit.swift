// SPDX-License-Identifier: Apache-2.0

/// What a figure counts.
enum Unit: String {
    case nanoseconds = "ns"
    case perSecond = "per second"
    case bytes
    case times
    /// Processors: 1.0 is one of them all the time.
    case processors

    /// A value for people.
    func text(_ value: Double) -> String {
        switch self {
        case .nanoseconds:
            let size = value.magnitude
            if size < 1e3 { return Text.significant(value) + " ns" }
            if size < 1e6 { return Text.significant(value / 1e3) + " µs" }
            if size < 1e9 { return Text.significant(value / 1e6) + " ms" }
            return Text.significant(value / 1e9) + " s"
        case .perSecond: return Text.significant(value) + " /s"
        case .bytes: return value < 10_240 ? Text.significant(value) + " B" : Text.significant(value / 1024) + " KiB"
        case .times: return Text.fixed(value, digits: 0)
        case .processors: return Text.significant(value * 100) + " % CPU"
        }
    }
}
