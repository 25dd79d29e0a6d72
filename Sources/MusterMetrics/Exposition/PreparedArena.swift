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

    let reader: ArenaReader
    let epoch: UInt64
    let constantLabels: [(name: String, value: String)]
    /// Series that have no text because the arena's text would be too large.
    let seriesLeftOut: UInt64
    let rendered: [RenderedFamily]
    let slots: [Slot]
    let families: [FamilyDescriptor]

    func writeSamples(of index: Int, to writer: inout SampleWriter) {
        switch slots[index] {
        case .droppedSeries:
            writer.sample(
                families[index].name, labels: constantLabels, value: Double(reader.droppedSeries &+ seriesLeftOut))
        case .droppedUpdates:
            writer.sample(families[index].name, labels: constantLabels, value: Double(reader.droppedUpdates))
        case .family(let position):
            write(rendered[position], to: &writer)
        }
    }

    private func write(_ family: RenderedFamily, to writer: inout SampleWriter) {
        let mapping = reader.mapping
        let bucketCount = family.definition.bucketBounds.count + 1
        let isFloatingPoint = family.definition.isFloatingPoint
        family.text.withUnsafeBufferPointer { text in
            family.lineEnds.withUnsafeBufferPointer { lineEnds in
                var line = 0
                var start = 0
                func nextPrefix() -> UnsafeBufferPointer<UInt8> {
                    let end = lineEnds[line]
                    let prefix = UnsafeBufferPointer(rebasing: text[start..<end])
                    start = end
                    line += 1
                    return prefix
                }
                for offset in family.valueOffsets {
                    switch family.definition.type {
                    case .counter:
                        let word = mapping.cell(at: offset).pointee.load(ordering: .relaxed)
                        if isFloatingPoint {
                            writer.sample(prefix: nextPrefix(), Double(bitPattern: word))
                        } else {
                            writer.sample(prefix: nextPrefix(), word)
                        }
                    case .gauge, .info:
                        let prefix = nextPrefix()
                        guard let value = reader.gauge(at: offset, epoch: epoch) else { continue }
                        writer.sample(prefix: prefix, value)
                    case .histogram:
                        // The count is the last bucket by construction, whatever is observed meanwhile.
                        let sum = Double(bitPattern: mapping.cell(at: offset).pointee.load(ordering: .relaxed))
                        var count: UInt64 = 0
                        for bucket in 1...bucketCount {
                            count &+= mapping.cell(at: offset + 8 * bucket).pointee.load(ordering: .relaxed)
                            writer.sample(prefix: nextPrefix(), count)
                        }
                        writer.sample(prefix: nextPrefix(), sum)
                        writer.sample(prefix: nextPrefix(), count)
                    }
                }
            }
        }
    }
}
