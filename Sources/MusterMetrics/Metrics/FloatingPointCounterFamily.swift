// SPDX-License-Identifier: Apache-2.0

/// Floating point counters of one name, told apart by the values of their labels.
public struct FloatingPointCounterFamily: Sendable {
    let resolver: SeriesResolver

    /// The series of these label values, made on its first use.
    ///
    /// Keep the result where updates are frequent: finding it takes a lock. It never fails: a wrong number of
    /// values, a series beyond the family's limit and a full arena are logged once and counted, and the result then
    /// leads nowhere.
    ///
    /// - Parameter values: One value for each label, in the order of the names given at registration.
    /// - Returns: The series.
    public func labels(_ values: String...) -> FloatingPointCounterMetric {
        labels(values)
    }

    /// The series of these label values, made on its first use.
    ///
    /// - Parameter values: One value for each label, in the order of the names given at registration.
    /// - Returns: The series.
    public func labels(_ values: [String]) -> FloatingPointCounterMetric {
        FloatingPointCounterMetric(cell: resolver.cells(values), storage: resolver.storage)
    }
}
