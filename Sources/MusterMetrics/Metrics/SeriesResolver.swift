// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Finds the cells of a family's series, or scratch cells for a series that is refused.
struct SeriesResolver: Sendable {
    let storage: MetricStorage
    let definition: FamilyDefinition
    /// The family's number in the arena; `nil` when the arena had no room for it.
    let family: Int?
    let seriesLimit: Int

    func cells(_ labelValues: [String]) -> UnsafeMutablePointer<Atomic<UInt64>> {
        guard labelValues.count == definition.labelNames.count else {
            return refuse("\(labelValues.count) label values given for the labels \(definition.labelNames)")
        }
        for value in labelValues where value.utf8.count > ArenaLayout.maximumLabelValueBytes {
            return refuse("a label value is longer than \(ArenaLayout.maximumLabelValueBytes) bytes")
        }
        guard let family else { return refuse(Self.fullText) }
        switch storage.arena.series(family: family, labelValues: labelValues, limit: seriesLimit) {
        case .values(let offset): return storage.cells(at: offset)
        case .full: return refuse(Self.fullText)
        case .overLimit:
            return refuse(
                "the family has its limit of \(seriesLimit) series; raise seriesLimit or use labels of fewer values")
        }
    }

    static let fullText = "the metric arena is full or damaged; make it larger or use labels of fewer values"

    private func refuse(_ reason: String) -> UnsafeMutablePointer<Atomic<UInt64>> {
        storage.refuseSeries(of: definition.name, because: reason)
        return storage.scratchCells()
    }
}
