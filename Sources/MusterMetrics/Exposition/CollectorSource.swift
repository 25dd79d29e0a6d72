// SPDX-License-Identifier: Apache-2.0

/// Exposes families that a closure makes at each scrape, for what is cheaper to look up than to keep.
public struct CollectorSource: MetricSource {
    private let collect: @Sendable () -> [CollectedFamily]

    /// Creates a source.
    ///
    /// - Parameter collect: Makes the families; called from any thread, also by several scrapes at once. Histograms
    ///   are left out: they cannot be told by single samples.
    public init(_ collect: @escaping @Sendable () -> [CollectedFamily]) {
        self.collect = collect
    }

    /// Makes the families for one scrape.
    public func prepare() -> any PreparedMetrics {
        PreparedCollection(collect())
    }
}
