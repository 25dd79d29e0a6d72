// SPDX-License-Identifier: Apache-2.0

/// A metric's unit: the suffix of its name (before `_total`) and the text behind `# UNIT` in OpenMetrics.
///
/// Prometheus wants base units: seconds rather than milliseconds, ratios from 0 to 1 rather than percentages.
/// Things that are counted (requests, connections) have no unit.
public struct MetricUnit: Hashable, Sendable {
    /// The unit as it stands in names, in the plural.
    public var name: String

    /// Makes a unit of one's own.
    ///
    /// - Parameter name: Lower-case letters, digits and underscores; checked when a metric is registered.
    public init(_ name: String) {
        self.name = name
    }

    /// Time in seconds.
    public static let seconds = MetricUnit("seconds")
    /// Sizes in bytes.
    public static let bytes = MetricUnit("bytes")
    /// Shares from 0 to 1.
    public static let ratio = MetricUnit("ratio")
    /// Temperatures in degrees Celsius.
    public static let celsius = MetricUnit("celsius")
    /// Lengths in meters.
    public static let meters = MetricUnit("meters")
    /// Electric tension in volts.
    public static let volts = MetricUnit("volts")
    /// Electric current in amperes.
    public static let amperes = MetricUnit("amperes")
    /// Energy in joules.
    public static let joules = MetricUnit("joules")
    /// Mass in grams.
    public static let grams = MetricUnit("grams")
}
