// SPDX-License-Identifier: Apache-2.0

/// What an arena's descriptor area says, in the order in which it was said.
struct ArenaIndex: Sendable {
    struct Family: Sendable {
        var definition: FamilyDefinition
        var series: [ArenaSeries] = []
        var seriesByLabels: [[String]: Int] = [:]
    }

    private(set) var families: [Family] = []
    private var familyByBaseName: [String: Int] = [:]
    /// Where the next series' cells may begin, relative to the value area.
    private(set) var valueEnd = 0

    func family(baseName: String) -> Int? {
        familyByBaseName[baseName]
    }

    func valueOffset(family: Int, labelValues: [String]) -> Int? {
        guard families.indices.contains(family), let index = families[family].seriesByLabels[labelValues] else {
            return nil
        }
        return families[family].series[index].valueOffset
    }

    mutating func append(_ definition: FamilyDefinition) {
        familyByBaseName[definition.baseName] = families.count
        families.append(Family(definition: definition))
    }

    /// Adds a series of a known family.
    mutating func append(_ series: ArenaSeries, family: Int, header: ArenaHeader) {
        families[family].seriesByLabels[series.labelValues] = families[family].series.count
        families[family].series.append(series)
        valueEnd = series.valueOffset - header.valueOffset + families[family].definition.valueSize
    }

    /// Reads whole records, each judged before it is believed.
    ///
    /// - Parameters:
    ///   - bytes: A private copy of published descriptor bytes that begins at a record.
    ///   - base: Where the copy begins in the descriptor area.
    ///   - header: The arena's areas.
    ///   - valueLimit: How many bytes of the value area are allocated.
    /// - Returns: How many bytes were read: all of them.
    mutating func parse(_ bytes: [UInt8], base: Int, header: ArenaHeader, valueLimit: Int) throws(ArenaError) {
        var offset = 0
        while offset < bytes.count {
            var cursor = ByteCursor(bytes, from: offset, to: bytes.count, base: base)
            let length = Int(try cursor.uint32())
            guard length >= ArenaLayout.recordHeaderSize, length % 8 == 0, length <= bytes.count - offset else {
                throw .invalidRecord(offset: base + offset, reason: "length \(length)")
            }
            let kind = try cursor.uint16()
            _ = try cursor.uint16()
            cursor.limit(to: offset + length)
            switch ArenaLayout.RecordKind(rawValue: kind) {
            case .family: try parseFamily(&cursor)
            case .series: try parseSeries(&cursor, header: header, valueLimit: valueLimit)
            case nil: throw .invalidRecord(offset: base + offset, reason: "unknown kind \(kind)")
            }
            offset += length
        }
    }

    private mutating func parseFamily(_ cursor: inout ByteCursor) throws(ArenaError) {
        let identifier = try cursor.uint32()
        guard identifier == UInt32(families.count) else {
            throw cursor.error("family id \(identifier), expected \(families.count)")
        }
        let typeByte = try cursor.uint8()
        guard let type = MetricType(rawValue: typeByte) else { throw cursor.error("unknown metric type \(typeByte)") }
        let valueKind = try cursor.uint8()
        guard valueKind == 1 || valueKind == 2 else { throw cursor.error("unknown value kind \(valueKind)") }
        guard type == .counter || valueKind == 2 else { throw cursor.error("a \(type) with integer cells") }
        let labelCount = Int(try cursor.uint8())
        _ = try cursor.uint8()
        let nameLength = Int(try cursor.uint16())
        let unitLength = Int(try cursor.uint16())
        let helpLength = Int(try cursor.uint16())
        let boundCount = Int(try cursor.uint16())
        _ = try cursor.uint32()
        _ = try cursor.uint32()
        guard labelCount <= ArenaLayout.maximumLabelNames else { throw cursor.error("\(labelCount) labels") }
        guard boundCount <= ArenaLayout.maximumBuckets else { throw cursor.error("\(boundCount) bucket bounds") }
        var bounds: [Double] = []
        for _ in 0..<boundCount { bounds.append(Double(bitPattern: try cursor.uint64())) }
        let name = try cursor.string(nameLength)
        let unit = try cursor.string(unitLength)
        let help = try cursor.string(helpLength)
        var labelNames: [String] = []
        for _ in 0..<labelCount { labelNames.append(try cursor.string(Int(try cursor.uint16()))) }
        try cursor.finish()
        let definition = FamilyDefinition(
            name: name, type: type, isFloatingPoint: valueKind == 2, unit: unit.isEmpty ? nil : MetricUnit(unit),
            help: help, labelNames: labelNames, bucketBounds: bounds)
        do throws(MetricError) {
            try definition.validate()
        } catch {
            throw cursor.error(error.description)
        }
        guard familyByBaseName[definition.baseName] == nil else {
            throw cursor.error("a second family \(definition.baseName)")
        }
        append(definition)
    }

    private mutating func parseSeries(
        _ cursor: inout ByteCursor, header: ArenaHeader, valueLimit: Int
    ) throws(ArenaError) {
        let identifier = try cursor.uint32()
        guard let family = Int(exactly: identifier), families.indices.contains(family) else {
            throw cursor.error("a series of the unknown family \(identifier)")
        }
        let definition = families[family].definition
        let labelCount = Int(try cursor.uint16())
        _ = try cursor.uint16()
        guard labelCount == definition.labelNames.count else {
            throw cursor.error("\(labelCount) label values for \(definition.labelNames.count) label names")
        }
        let word = try cursor.uint64()
        // The series' cells lie behind those of the series before it, inside what is allocated.
        guard let valueOffset = Int(exactly: word), valueOffset % definition.valueAlignment == 0,
            valueOffset >= header.valueOffset + valueEnd,
            valueOffset <= header.valueOffset + valueLimit - definition.valueSize
        else {
            throw cursor.error("value offset \(word)")
        }
        var labelValues: [String] = []
        for _ in 0..<labelCount {
            let length = Int(try cursor.uint16())
            guard length <= ArenaLayout.maximumLabelValueBytes else {
                throw cursor.error("a label value of \(length) bytes")
            }
            labelValues.append(try cursor.string(length))
        }
        try cursor.finish()
        guard families[family].seriesByLabels[labelValues] == nil else {
            throw cursor.error("a second series with the same labels")
        }
        append(ArenaSeries(labelValues: labelValues, valueOffset: valueOffset), family: family, header: header)
    }
}
