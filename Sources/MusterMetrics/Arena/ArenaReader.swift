// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform
import Synchronization

/// The reading side of a metric arena, which trusts nothing it finds there.
///
/// The writer is usually another process and may have scribbled over the memory: everything is copied out and
/// judged before it is used, and no content makes a reader trap. Records are read once; a later call reads only
/// what was appended since.
package final class ArenaReader: Sendable {
    let mapping: ArenaMapping
    private let header: ArenaHeader
    private let state: Locked<State>

    private struct State {
        var index = ArenaIndex()
        var parsed = 0
        var damage: ArenaError?
    }

    /// Maps an arena for reading.
    ///
    /// - Parameter descriptor: The arena's memory file. It is needed only during the call.
    /// - Throws: ``ArenaError`` that says what was found instead of a sound arena.
    package convenience init(descriptor: Int32) throws(ArenaError) {
        try self.init(readingUpToDamage: descriptor)
        if let damage { throw damage }
    }

    /// Maps an arena for reading, even if only its first records are sound.
    init(readingUpToDamage descriptor: Int32) throws(ArenaError) {
        mapping = try ArenaMapping(descriptor: descriptor, writable: false)
        header = try ArenaHeader(mapping)
        state = Locked(State())
    }

    /// What was found wrong with the arena since the reader was made; `nil` for a sound one.
    ///
    /// Series that were read before the damage stay readable; later ones are not read.
    package var damage: ArenaError? {
        withIndex { _, damage in damage }
    }

    /// The families described so far, in the order of their registration.
    package var families: [FamilyDescriptor] {
        withIndex { index, _ in index.families.map { FamilyDescriptor($0.definition) } }
    }

    /// How many series are described so far.
    package var seriesCount: Int {
        withIndex { index, _ in index.families.reduce(0) { $0 + $1.series.count } }
    }

    /// The number of the writer's generation.
    package var epoch: UInt64 { mapping.cell(at: ArenaLayout.Offset.epoch).pointee.load(ordering: .acquiring) }

    /// The process that attached last; it may have ended.
    package var writerPid: Int32 {
        let word = mapping.cell(at: ArenaLayout.Offset.writerPid).pointee.load(ordering: .relaxed)
        return Int32(truncatingIfNeeded: word)
    }

    /// The arena's exemplars; `nil` while there are none.
    var exemplars: ExemplarTable? { ExemplarTable(mapping, header).flatMap { $0.isUsed ? $0 : nil } }

    /// How often a series was refused since the arena was made.
    package var droppedSeries: UInt64 {
        mapping.cell(at: ArenaLayout.Offset.droppedSeries).pointee.load(ordering: .relaxed)
    }

    /// How many updates were refused since the arena was made.
    package var droppedUpdates: UInt64 {
        mapping.cell(at: ArenaLayout.Offset.droppedUpdates).pointee.load(ordering: .relaxed)
    }

    /// Reads one series: a counter's total, a gauge's value or how many observations a histogram holds.
    ///
    /// - Parameters:
    ///   - name: The family's name in the text format, for example `jobs_total`.
    ///   - labels: The series' labels, in any order.
    /// - Returns: The value; `nil` when there is no such series or its gauge is not set.
    package func value(of name: String, labels: [(name: String, value: String)] = []) -> Double? {
        switch find(name, labels) {
        case .number(let number): number
        case .histogram(let histogram): Double(histogram.count)
        case nil: nil
        }
    }

    /// Reads one histogram.
    ///
    /// - Returns: Its content; `nil` when there is no such histogram.
    package func histogram(of name: String, labels: [(name: String, value: String)] = []) -> HistogramSnapshot? {
        if case .histogram(let histogram) = find(name, labels) { histogram } else { nil }
    }

    private func find(
        _ name: String, _ labels: [(name: String, value: String)]
    ) -> SeriesReading.Value? {
        let epoch = epoch
        return withIndex { index, _ in
            guard let family = index.families.first(where: { $0.definition.name == name }),
                family.definition.labelNames.count == labels.count
            else { return nil }
            var values: [String] = []
            for labelName in family.definition.labelNames {
                guard let label = labels.first(where: { $0.name == labelName }) else { return nil }
                values.append(label.value)
            }
            guard let series = family.seriesByLabels[values] else { return nil }
            return SeriesDecoder(family.definition, in: mapping, epoch: epoch)
                .value(of: series, at: family.series[series].valueOffset)
        }
    }

    /// Reads what was appended since the last call and lends the index.
    func withIndex<Result>(_ body: (borrowing ArenaIndex, ArenaError?) -> sending Result) -> sending Result {
        state.withLock { state in
            if state.damage == nil {
                do throws(ArenaError) {
                    try readNewRecords(&state)
                } catch {
                    state.damage = error
                }
            }
            return body(state.index, state.damage)
        }
    }

    private func readNewRecords(_ state: inout State) throws(ArenaError) {
        let committed = try header.committedDescriptorBytes(mapping)
        guard committed != state.parsed else { return }
        guard committed > state.parsed else {
            throw .invalidHeader("\(committed) committed descriptor bytes, after \(state.parsed)")
        }
        let valueLimit = try header.committedValueBytes(mapping)
        let start = header.descriptorOffset
        let bytes = mapping.copy(start + state.parsed..<start + committed)
        try state.index.parse(bytes, base: state.parsed, header: header, valueLimit: valueLimit)
        state.parsed = committed
    }
}

extension ArenaReader: SeriesReader {
    package func read(_ names: Set<String>, limit: Int) -> [SeriesReading] {
        let families = withIndex { index, _ in index.families.filter { names.contains($0.definition.name) } }
        let epoch = epoch
        var readings: [SeriesReading] = []
        for family in families where !family.series.isEmpty {
            let decoder = SeriesDecoder(family.definition, in: mapping, epoch: epoch)
            for (position, series) in family.series.prefix(limit).enumerated() {
                if let reading = decoder.reading(series.labelValues, of: position, at: series.valueOffset) {
                    readings.append(reading)
                }
            }
        }
        return readings
    }

    package func seriesCount(of name: String) -> Int {
        withIndex { index, _ in index.families.first { $0.definition.name == name }?.series.count ?? 0 }
    }
}

/// One series of a family: its label values and where its cells begin, counted from the arena's first byte.
struct ArenaSeries: Hashable, Sendable {
    var labelValues: [String]
    var valueOffset: Int
}
