// SPDX-License-Identifier: Apache-2.0

/// Gauges of one name, told apart by the values of their labels.
public struct GaugeFamily: Sendable {
    let resolver: SeriesResolver

    /// The series of these label values, made on its first use.
    ///
    /// Keep the result where updates are frequent: finding it takes a lock. It never fails: a wrong number of
    /// values, a series beyond the family's limit and a full arena are logged once and counted, and the result then
    /// leads nowhere.
    ///
    /// - Parameter values: One value for each label, in the order of the names given at registration.
    /// - Returns: The series.
    public func labels(_ values: String...) -> GaugeMetric {
        labels(values)
    }

    /// The series of these label values, made on its first use.
    ///
    /// - Parameter values: One value for each label, in the order of the names given at registration.
    /// - Returns: The series.
    public func labels(_ values: [String]) -> GaugeMetric {
        GaugeMetric(cells: resolver.cells(values), storage: resolver.storage)
    }
}
