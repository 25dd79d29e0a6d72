// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// A family of an arena with the text of its lines up to the values.
struct RenderedFamily: Sendable {
    let definition: FamilyDefinition
    /// The lines' beginnings, one behind the other.
    private(set) var text: [UInt8] = []
    /// Where each line's beginning ends in `text`.
    private(set) var lineEnds: [Int] = []
    /// Where each series' cells begin in the arena; ``noCells`` for one that is known from carried totals only.
    private(set) var valueOffsets: [Int] = []
    /// Totals of earlier arenas, as many words for each series as it has cells; empty when there are none, and then
    /// every series has cells in the arena.
    private(set) var carried: [UInt64] = []

    static let noCells = -1

    /// How many words one series has in `carried`.
    var wordsPerSeries: Int { definition.valueSize / 8 }

    init(_ definition: FamilyDefinition) {
        self.definition = definition
    }

    /// How many series of the arena were looked at, rendered or not.
    private(set) var seriesSeen = 0

    mutating func leaveOut() {
        seriesSeen += 1
    }

    /// Renders a series.
    ///
    /// - Returns: How many bytes the text has grown by.
    mutating func append(_ series: ArenaSeries, constantLabels: [(name: String, value: String)]) -> Int {
        let before = text.count
        seriesSeen += 1
        var labels = constantLabels
        for (name, value) in zip(definition.labelNames, series.labelValues) {
            labels.append((Self.free(name, among: labels, definition.labelNames), value))
        }
        valueOffsets.append(series.valueOffset)
        if !carried.isEmpty { carried.append(contentsOf: repeatElement(0, count: wordsPerSeries)) }
        guard definition.type == .histogram else {
            appendLine(definition.name, labels)
            return text.count - before
        }
        for bound in definition.bucketBounds {
            appendLine(definition.name + "_bucket", labels + [("le", NumberFormat.canonical(bound))])
        }
        appendLine(definition.name + "_bucket", labels + [("le", "+Inf")])
        appendLine(definition.name + "_sum", labels)
        appendLine(definition.name + "_count", labels)
        return text.count - before
    }

    /// Says where a series that is known from carried totals has its cells in the present arena.
    mutating func attach(_ series: Int, valueOffset: Int) {
        valueOffsets[series] = valueOffset
    }

    /// Forgets where the cells are, before another arena is shown; makes room for the totals of the last one.
    mutating func detach() {
        if carried.isEmpty { carried = Array(repeating: 0, count: valueOffsets.count * wordsPerSeries) }
        for series in valueOffsets.indices { valueOffsets[series] = Self.noCells }
    }

    /// Raises the carried totals of the first series to what they were plus what an arena says by now.
    ///
    /// Nothing is lowered, and what is no finite number stays out: the arena may have been scribbled on.
    mutating func carry(_ mapping: ArenaMapping, valueOffsets: [Int], base: [UInt64]) {
        let words = wordsPerSeries
        for (series, offset) in valueOffsets.enumerated() where offset != Self.noCells {
            for word in 0..<words {
                let place = series * words + word
                let now = mapping.cell(at: offset + 8 * word).pointee.load(ordering: .relaxed)
                if definition.type == .histogram, word == 0 {
                    let sum = Double(bitPattern: base[place]) + Double(bitPattern: now)
                    if sum.isFinite { carried[place] = sum.bitPattern }
                } else if definition.type == .counter, definition.isFloatingPoint {
                    let total = Double(bitPattern: base[place]) + Double(bitPattern: now)
                    if total.isFinite, total > Double(bitPattern: carried[place]) { carried[place] = total.bitPattern }
                } else {
                    carried[place] = max(carried[place], Self.saturatingSum(base[place], now))
                }
            }
        }
    }

    /// A sum that stays at the largest number: one that wrapped around would be a fall.
    @inline(__always)
    static func saturatingSum(_ first: UInt64, _ second: UInt64) -> UInt64 {
        let (sum, isOverflow) = first.addingReportingOverflow(second)
        return isOverflow ? .max : sum
    }

    private mutating func appendLine(_ name: String, _ labels: [(name: String, value: String)]) {
        text.append(contentsOf: name.utf8)
        TextEscaping.append(labels: labels, to: &text)
        text.append(UInt8(ascii: " "))
        lineEnds.append(text.count)
    }

    /// A label's name, prefixed as Prometheus does it where a constant label has the name already.
    private static func free(
        _ name: String, among labels: [(name: String, value: String)], _ labelNames: [String]
    ) -> String {
        guard labels.contains(where: { $0.name == name }) else { return name }
        var candidate = "exported_" + name
        while labels.contains(where: { $0.name == candidate }) || labelNames.contains(candidate) {
            candidate = "exported_" + candidate
        }
        return candidate
    }
}
