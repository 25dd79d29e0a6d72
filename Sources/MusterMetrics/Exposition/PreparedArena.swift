// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// One scrape's view of an arena.
struct PreparedArena: PreparedMetrics {
    /// What stands behind a place in `families`.
    enum Slot: Sendable {
        case family(Int)
        case droppedSeries
        case droppedUpdates
    }

    /// The arena in use; `nil` shows carried totals only.
    let reader: ArenaReader?
    /// The generation whose gauges are shown; 0 shows none.
    let epoch: UInt64
    let constantLabels: [(name: String, value: String)]
    /// What is added to the arena's own count of refused series: those of earlier arenas, and those that have no
    /// text because it would be too large.
    let droppedSeries: UInt64
    /// Updates that were refused by earlier arenas.
    let droppedUpdates: UInt64
    let rendered: [RenderedFamily]
    let slots: [Slot]
    let families: [FamilyDescriptor]

    static let droppedSeriesName = "muster_metrics_dropped_series_total"
    static let droppedUpdatesName = "muster_metrics_dropped_updates_total"

    private static let droppedSeriesFamily = FamilyDescriptor(
        name: droppedSeriesName, type: .counter,
        help: "Series that were refused because the arena was full or a family over its limit.")
    private static let droppedUpdatesFamily = FamilyDescriptor(
        name: droppedUpdatesName, type: .counter,
        help: "Updates that were refused: decrements of counters and observations that are no number.")

    /// Puts families, and what every arena counts of itself, in the order of their names.
    static func order(_ rendered: [RenderedFamily]) -> (families: [FamilyDescriptor], slots: [Slot]) {
        var entries: [(descriptor: FamilyDescriptor, slot: Slot)] = [
            (droppedSeriesFamily, .droppedSeries), (droppedUpdatesFamily, .droppedUpdates),
        ]
        for (position, family) in rendered.enumerated() {
            entries.append((FamilyDescriptor(family.definition), .family(position)))
        }
        entries.sort { $0.descriptor.name < $1.descriptor.name }
        return (entries.map(\.descriptor), entries.map(\.slot))
    }

    func writeSamples(of index: Int, to writer: inout SampleWriter) {
        switch slots[index] {
        case .droppedSeries:
            let total = RenderedFamily.saturatingSum(reader?.droppedSeries ?? 0, droppedSeries)
            writer.sample(families[index].name, labels: constantLabels, value: Double(total))
        case .droppedUpdates:
            let total = RenderedFamily.saturatingSum(reader?.droppedUpdates ?? 0, droppedUpdates)
            writer.sample(families[index].name, labels: constantLabels, value: Double(total))
        case .family(let position):
            if !rendered[position].carried.isEmpty {
                writeSums(rendered[position], to: &writer)
            } else if let reader {
                write(rendered[position], of: reader, to: &writer)
            }
        }
    }

    /// Writes the arena's values plus the carried ones, which only totals have.
    private func writeSums(_ family: RenderedFamily, to writer: inout SampleWriter) {
        let bucketCount = family.definition.bucketBounds.count + 1
        let words = family.wordsPerSeries
        family.text.withUnsafeBufferPointer { text in
            family.lineEnds.withUnsafeBufferPointer { lineEnds in
                var prefixes = LinePrefixes(text: text, ends: lineEnds)
                for (series, offset) in family.valueOffsets.enumerated() {
                    func present(_ word: Int) -> UInt64 {
                        guard offset != RenderedFamily.noCells, let reader else { return 0 }
                        return reader.mapping.cell(at: offset + 8 * word).pointee.load(ordering: .relaxed)
                    }
                    func sum(_ word: Int) -> UInt64 {
                        RenderedFamily.saturatingSum(family.carried[series * words + word], present(word))
                    }
                    func floatingPointSum() -> Double {
                        Double(bitPattern: family.carried[series * words]) + Double(bitPattern: present(0))
                    }
                    if family.definition.type == .histogram {
                        let sumOfValues = floatingPointSum()
                        var count: UInt64 = 0
                        for bucket in 1...bucketCount {
                            count = RenderedFamily.saturatingSum(count, sum(bucket))
                            writer.sample(prefix: prefixes.next(), count)
                        }
                        writer.sample(prefix: prefixes.next(), sumOfValues)
                        writer.sample(prefix: prefixes.next(), count)
                    } else if family.definition.isFloatingPoint {
                        writer.sample(prefix: prefixes.next(), floatingPointSum())
                    } else {
                        writer.sample(prefix: prefixes.next(), sum(0))
                    }
                }
            }
        }
    }

    private func write(_ family: RenderedFamily, of reader: ArenaReader, to writer: inout SampleWriter) {
        let mapping = reader.mapping
        let bucketCount = family.definition.bucketBounds.count + 1
        let isFloatingPoint = family.definition.isFloatingPoint
        family.text.withUnsafeBufferPointer { text in
            family.lineEnds.withUnsafeBufferPointer { lineEnds in
                var prefixes = LinePrefixes(text: text, ends: lineEnds)
                for offset in family.valueOffsets {
                    switch family.definition.type {
                    case .counter:
                        let word = mapping.cell(at: offset).pointee.load(ordering: .relaxed)
                        if isFloatingPoint {
                            writer.sample(prefix: prefixes.next(), Double(bitPattern: word))
                        } else {
                            writer.sample(prefix: prefixes.next(), word)
                        }
                    case .gauge, .info:
                        let prefix = prefixes.next()
                        guard let value = reader.gauge(at: offset, epoch: epoch) else { continue }
                        writer.sample(prefix: prefix, value)
                    case .histogram:
                        // The count is the last bucket by construction, whatever is observed meanwhile.
                        let sum = Double(bitPattern: mapping.cell(at: offset).pointee.load(ordering: .relaxed))
                        var count: UInt64 = 0
                        for bucket in 1...bucketCount {
                            count &+= mapping.cell(at: offset + 8 * bucket).pointee.load(ordering: .relaxed)
                            writer.sample(prefix: prefixes.next(), count)
                        }
                        writer.sample(prefix: prefixes.next(), sum)
                        writer.sample(prefix: prefixes.next(), count)
                    }
                }
            }
        }
    }
}
