// SPDX-License-Identifier: Apache-2.0

/// What a metric family measures. The raw values are part of the arena's layout.
public enum MetricType: UInt8, Hashable, Sendable, CustomStringConvertible {
    /// A total that only rises.
    case counter = 1
    /// A value that goes up and down.
    case gauge = 2
    /// A distribution over buckets, with its sum and count.
    case histogram = 3
    /// Text in labels, with the constant value 1.
    case info = 4

    /// The type's name in OpenMetrics.
    public var description: String {
        switch self {
        case .counter: "counter"
        case .gauge: "gauge"
        case .histogram: "histogram"
        case .info: "info"
        }
    }
}
