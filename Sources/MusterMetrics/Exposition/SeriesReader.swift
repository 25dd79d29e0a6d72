// SPDX-License-Identifier: Apache-2.0

/// What series can be read from one by one.
package protocol SeriesReader: Sendable {
    /// Reads the series of some families as they are now. Gauges that are not set are left out.
    ///
    /// - Parameters:
    ///   - names: The families, by their names in the text format.
    ///   - limit: How many series of each family are read at most, so that a reading is bounded whatever is there.
    /// - Returns: The series in the order of their registration.
    func read(_ names: Set<String>, limit: Int) -> [SeriesReading]

    /// How many series a family is known to have.
    ///
    /// - Parameter name: The family's name in the text format.
    func seriesCount(of name: String) -> Int
}
