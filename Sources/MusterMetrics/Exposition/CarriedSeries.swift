// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// One series' cells, with what earlier arenas had counted in it.
struct CarriedSeries {
    let definition: FamilyDefinition
    /// Where the cells begin; ``RenderedFamily/noCells`` for none.
    let offset: Int
    /// A word for each cell; empty for nothing.
    let carried: ArraySlice<UInt64>

    /// Reads the cells.
    ///
    /// - Parameters:
    ///   - reader: The arena they are in.
    ///   - epoch: The generation whose gauges count.
    /// - Returns: What the series holds; `nil` for a gauge that is not set.
    func value(in reader: ArenaReader?, epoch: UInt64) -> SeriesReading.Value? {
        switch definition.type {
        case .counter:
            guard definition.isFloatingPoint else { return .number(Double(sum(0, reader))) }
            return .number(floatingPointSum(reader))
        case .gauge, .info:
            guard offset != RenderedFamily.noCells else { return nil }
            return reader?.gauge(at: offset, epoch: epoch).map(SeriesReading.Value.number)
        case .histogram:
            let counts = (1...definition.bucketBounds.count + 1).map { sum($0, reader) }
            return .histogram(
                HistogramSnapshot(
                    count: counts.reduce(0, RenderedFamily.saturatingSum), sum: floatingPointSum(reader),
                    bounds: definition.bucketBounds, bucketCounts: counts))
        }
    }

    private func word(_ word: Int, _ reader: ArenaReader?) -> UInt64 {
        guard offset != RenderedFamily.noCells, let reader else { return 0 }
        return reader.mapping.cell(at: offset + 8 * word).pointee.load(ordering: .relaxed)
    }

    private func before(_ word: Int) -> UInt64 {
        carried.isEmpty ? 0 : carried[carried.startIndex + word]
    }

    private func sum(_ index: Int, _ reader: ArenaReader?) -> UInt64 {
        RenderedFamily.saturatingSum(before(index), word(index, reader))
    }

    private func floatingPointSum(_ reader: ArenaReader?) -> Double {
        Double(bitPattern: before(0)) + Double(bitPattern: word(0, reader))
    }
}
