// SPDX-License-Identifier: Apache-2.0

extension ArenaReader: SeriesReader {
    package func read(_ names: Set<String>, limit: Int) -> [SeriesReading] {
        let families = withIndex { index, _ in index.families.filter { names.contains($0.definition.name) } }
        let epoch = epoch
        var readings: [SeriesReading] = []
        for family in families {
            for series in family.series.prefix(limit) {
                let cells = CarriedSeries(definition: family.definition, offset: series.valueOffset, carried: [])
                guard let value = cells.value(in: self, epoch: epoch) else { continue }
                readings.append(
                    SeriesReading(
                        family: family.definition.name, labelNames: family.definition.labelNames,
                        labelValues: series.labelValues, value: value))
            }
        }
        return readings
    }

    package func seriesCount(of name: String) -> Int {
        withIndex { index, _ in index.families.first { $0.definition.name == name }?.series.count ?? 0 }
    }
}
