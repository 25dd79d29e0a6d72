// SPDX-License-Identifier: Apache-2.0

/// One scrape's view of one source.
public protocol PreparedMetrics {
    /// The families, sorted by name.
    var families: [FamilyDescriptor] { get }

    /// Writes the samples of one family.
    ///
    /// - Parameters:
    ///   - index: The family's place in ``families``.
    ///   - writer: Where the samples go.
    func writeSamples(of index: Int, to writer: inout SampleWriter)
}
