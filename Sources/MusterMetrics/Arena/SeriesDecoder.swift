// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Synchronization

/// Reads the series of one family: the only code that knows what their cells hold.
///
/// What earlier arenas have counted is added to what the present one says. The cells may have been scribbled over: nothing
/// traps, counts stay at the largest number instead of wrapping around, and a series with a value that no writer leaves
/// there is left out.
struct SeriesDecoder {
    /// What the cells of a series are.
    enum Kind {
        /// One cell, a whole number.
        case counter
        /// One cell, the bits of a double.
        case floatingPointCounter
        /// The bits of a double, and the generation in which it was set.
        case gauge
        /// The bits of the sum, then a count for each bucket.
        case histogram
    }

    /// In place of an offset: the series has no cells in the arena, only carried totals.
    static let noCells = -1

    // Trivial, so that looking at it costs no reference count.
    let kind: Kind
    /// Where the buckets of a histogram are; `nil` for anything else.
    private let layout: BucketLayout?
    private let definition: FamilyDefinition
    private let isInfo: Bool
    private let mapping: ArenaMapping?
    private let epoch: UInt64
    private let carried: [UInt64]
    private let wordsPerSeries: Int
    /// What is shown with the buckets; `nil` where that is nothing.
    var exemplars: ExemplarTable?

    /// - Parameters:
    ///   - mapping: The present arena; `nil` for none.
    ///   - epoch: The generation whose gauges are shown; 0 shows none.
    ///   - carried: Totals of earlier arenas, a word for each cell of each series; empty for none.
    init(_ definition: FamilyDefinition, in mapping: ArenaMapping?, epoch: UInt64 = 0, carried: [UInt64] = []) {
        kind =
            switch definition.type {
            case .counter: definition.isFloatingPoint ? .floatingPointCounter : .counter
            case .gauge, .info: .gauge
            case .histogram: .histogram
            }
        layout = definition.buckets?.layout
        isInfo = definition.type == .info
        self.definition = definition
        self.mapping = mapping
        self.epoch = epoch
        self.carried = carried
        wordsPerSeries = definition.valueSize / 8
    }

    /// A cell that counts.
    @inline(__always)
    func count(_ cell: Int, of series: Int, at offset: Int) -> UInt64 {
        let present = word(cell, at: offset)
        return carried.isEmpty ? present : present.saturatingSum(carried[series * wordsPerSeries + cell])
    }

    /// The first cell as a double: a floating point counter's total or a histogram's sum.
    @inline(__always)
    func number(of series: Int, at offset: Int) -> Double {
        let present = Double(bitPattern: word(0, at: offset))
        return carried.isEmpty ? present : present + Double(bitPattern: carried[series * wordsPerSeries])
    }

    /// A gauge; `nil` when it is not set.
    @inline(__always)
    func gauge(at offset: Int) -> Double? {
        guard let mapping, offset != Self.noCells, epoch != 0,
            mapping.cell(at: offset + 8).pointee.load(ordering: .acquiring) == epoch
        else { return nil }
        return Double(bitPattern: word(0, at: offset))
    }

    /// Whether a series holds what a writer may leave there: a total that is finite and not negative, an info that is 1.
    @inline(__always)
    func isPlausible(_ series: Int, at offset: Int) -> Bool {
        switch kind {
        case .counter: return true
        case .floatingPointCounter:
            let total = number(of: series, at: offset)
            return total >= 0 && total.isFinite
        case .gauge: return !isInfo || (gauge(at: offset) ?? 1) == 1
        case .histogram: return number(of: series, at: offset).isFinite
        }
    }

    /// What a series holds; `nil` for a gauge that is not set, or for one that is not plausible.
    func value(of series: Int, at offset: Int) -> SeriesReading.Value? {
        guard isPlausible(series, at: offset) else { return nil }
        switch kind {
        case .counter: return .number(Double(count(0, of: series, at: offset)))
        case .floatingPointCounter: return .number(number(of: series, at: offset))
        case .gauge: return gauge(at: offset).map(SeriesReading.Value.number)
        case .histogram:
            guard let layout else { return nil }
            let counts = (0...layout.count).map { count(1 + $0, of: series, at: offset) }
            return .histogram(
                HistogramSnapshot(
                    count: counts.reduce(0) { $0.saturatingSum($1) }, sum: number(of: series, at: offset),
                    bounds: layout.bounds, bucketCounts: counts))
        }
    }

    /// What a series holds, with its names.
    func reading(_ labelValues: [String], of series: Int, at offset: Int) -> SeriesReading? {
        value(of: series, at: offset).map {
            SeriesReading(
                family: definition.name, labelNames: definition.labelNames, labelValues: labelValues, value: $0)
        }
    }

    /// Writes the lines of a series.
    @inline(__always)
    func write(_ series: Int, at offset: Int, _ prefixes: inout LinePrefixes, to writer: inout SampleWriter) {
        guard isPlausible(series, at: offset) else {
            for _ in 0..<lineCount { _ = prefixes.next() }
            return
        }
        switch kind {
        case .counter: writer.sample(prefix: prefixes.next(), count(0, of: series, at: offset))
        case .floatingPointCounter: writer.sample(prefix: prefixes.next(), number(of: series, at: offset))
        case .gauge:
            let prefix = prefixes.next()
            if let value = gauge(at: offset) { writer.sample(prefix: prefix, value) }
        case .histogram: writeHistogram(series, at: offset, &prefixes, to: &writer)
        }
    }

    /// Not inlined, so that the loop over counters, of which there are most, stays small.
    @inline(never)
    private func writeHistogram(
        _ series: Int, at offset: Int, _ prefixes: inout LinePrefixes, to writer: inout SampleWriter
    ) {
        guard let layout else { return }
        // The count is the last bucket by construction, whatever is observed meanwhile.
        let sum = number(of: series, at: offset)
        var total: UInt64 = 0
        var cell = 1
        var low = -Double.infinity
        for end in layout.classicEnds {
            while cell <= 1 + Int(end) {
                total = total.saturatingSum(count(cell, of: series, at: offset))
                cell += 1
            }
            guard let exemplars, offset != Self.noCells else {
                writer.sample(prefix: prefixes.next(), total)
                continue
            }
            let high = Int(end) < layout.count ? layout.first[Int(end)] : .infinity
            writer.sample(
                prefix: prefixes.next(), total,
                exemplars.exemplar(of: offset + 8 * (1 + Int(end)), within: (low, high)))
            low = high
        }
        writer.sample(prefix: prefixes.next(), sum)
        writer.sample(prefix: prefixes.next(), total)
    }

    /// Writes the message of a series.
    @inline(__always)
    func write(
        _ series: Int, at offset: Int, labels: UnsafeBufferPointer<UInt8>, to writer: inout SampleWriter
    ) {
        guard isPlausible(series, at: offset) else { return }
        switch kind {
        case .counter: writer.message(labels: labels, Double(count(0, of: series, at: offset)))
        case .floatingPointCounter: writer.message(labels: labels, number(of: series, at: offset))
        case .gauge: if let value = gauge(at: offset) { writer.message(labels: labels, value) }
        case .histogram:
            guard let layout else { return }
            // Each cell is read once, so that both kinds of buckets tell the same.
            withUnsafeTemporaryAllocation(of: UInt64.self, capacity: layout.count + 1) { counts in
                for bucket in counts.indices { counts[bucket] = count(1 + bucket, of: series, at: offset) }
                writer.message(labels: labels, UnsafeBufferPointer(counts), number(of: series, at: offset), layout)
            }
        }
    }

    private var lineCount: Int { Self.lineCount(of: definition) }

    /// How many lines of text a series has.
    static func lineCount(of definition: FamilyDefinition) -> Int {
        definition.buckets.map { $0.bounds.count + 3 } ?? 1
    }

    @inline(__always)
    private func word(_ cell: Int, at offset: Int) -> UInt64 {
        guard let mapping, offset != Self.noCells else { return 0 }
        return mapping.cell(at: offset + 8 * cell).pointee.load(ordering: .relaxed)
    }
}

extension UInt64 {
    /// A sum that stays at the largest number: one that wrapped around would be a fall.
    @inline(__always)
    func saturatingSum(_ other: UInt64) -> UInt64 {
        let (sum, isOverflow) = addingReportingOverflow(other)
        return isOverflow ? .max : sum
    }
}

/// One series as it was found in an arena, for those who want numbers instead of text.
package struct SeriesReading: Sendable {
    /// What a series holds.
    package enum Value: Sendable {
        /// A counter's total, with what earlier arenas had counted, or a gauge that is set.
        case number(Double)
        /// A histogram, with what earlier arenas had counted.
        case histogram(HistogramSnapshot)
    }

    /// The family's name in the text format.
    package let family: String
    /// The names of its labels.
    package let labelNames: [String]
    /// Their values.
    package let labelValues: [String]
    /// What it holds.
    package let value: Value

    /// The value of a label; `nil` when the family has none of this name.
    package subscript(label: String) -> String? {
        labelNames.firstIndex(of: label).map { labelValues[$0] }
    }

    /// The value, of anything but a histogram, when it is finite.
    package var number: Double? {
        if case .number(let number) = value, number.isFinite { number } else { nil }
    }

    /// The value of a histogram.
    package var histogram: HistogramSnapshot? {
        if case .histogram(let histogram) = value { histogram } else { nil }
    }
}

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
    func seriesCount(of name: String) -> Int
}
