// SPDX-License-Identifier: Apache-2.0

/// Encodes records of the descriptor area.
enum ArenaRecord {
    static func family(_ definition: FamilyDefinition, identifier: Int) -> [UInt8] {
        var bytes = start(.family)
        append(UInt32(identifier), to: &bytes)
        bytes.append(definition.type.rawValue)
        bytes.append(definition.isFloatingPoint ? 2 : 1)
        bytes.append(UInt8(definition.labelNames.count))
        bytes.append(0)
        append(UInt16(definition.name.utf8.count), to: &bytes)
        append(UInt16(definition.unit?.name.utf8.count ?? 0), to: &bytes)
        append(UInt16(definition.help.utf8.count), to: &bytes)
        append(UInt16(definition.bucketBounds.count), to: &bytes)
        append(UInt64(0), to: &bytes)
        for bound in definition.bucketBounds { append(bound.bitPattern, to: &bytes) }
        bytes.append(contentsOf: definition.name.utf8)
        if let unit = definition.unit { bytes.append(contentsOf: unit.name.utf8) }
        bytes.append(contentsOf: definition.help.utf8)
        for name in definition.labelNames {
            append(UInt16(name.utf8.count), to: &bytes)
            bytes.append(contentsOf: name.utf8)
        }
        return finish(bytes)
    }

    static func series(_ series: ArenaSeries, family: Int) -> [UInt8] {
        var bytes = start(.series)
        append(UInt32(family), to: &bytes)
        append(UInt16(series.labelValues.count), to: &bytes)
        append(UInt16(0), to: &bytes)
        append(UInt64(series.valueOffset), to: &bytes)
        for value in series.labelValues {
            append(UInt16(value.utf8.count), to: &bytes)
            bytes.append(contentsOf: value.utf8)
        }
        return finish(bytes)
    }

    private static func start(_ kind: ArenaLayout.RecordKind) -> [UInt8] {
        var bytes: [UInt8] = []
        append(UInt32(0), to: &bytes)
        append(kind.rawValue, to: &bytes)
        append(UInt16(0), to: &bytes)
        return bytes
    }

    /// Pads to eight bytes and fills in the length.
    private static func finish(_ bytes: consuming [UInt8]) -> [UInt8] {
        var bytes = bytes
        while bytes.count % 8 != 0 { bytes.append(0) }
        withUnsafeBytes(of: UInt32(bytes.count).littleEndian) { length in
            for index in 0..<4 { bytes[index] = length[index] }
        }
        return bytes
    }

    private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
}
