// SPDX-License-Identifier: Apache-2.0

/// A family of an arena with the text of its lines up to the values.
struct RenderedFamily: Sendable {
    let definition: FamilyDefinition
    /// The lines' beginnings, one behind the other.
    private(set) var text: [UInt8] = []
    /// Where each line's beginning ends in `text`.
    private(set) var lineEnds: [Int] = []
    /// Where each series' cells begin in the arena.
    private(set) var valueOffsets: [Int] = []

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
