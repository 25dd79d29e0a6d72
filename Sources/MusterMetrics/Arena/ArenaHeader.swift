// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Where an arena's areas lie: the header's constant part, checked and copied out of the shared memory.
struct ArenaHeader: Sendable {
    let descriptorOffset: Int
    let descriptorSize: Int
    let valueOffset: Int
    let valueSize: Int

    /// Divides a fresh arena: one half describes, the other counts.
    init(totalSize: Int) {
        let half = ArenaLayout.align(ArenaLayout.headerSize + (totalSize - ArenaLayout.headerSize) / 2, to: 64)
        descriptorOffset = ArenaLayout.headerSize
        descriptorSize = half - ArenaLayout.headerSize
        valueOffset = half
        valueSize = (totalSize - half) & ~7
    }

    /// Reads and checks the header of a mapping.
    init(_ mapping: ArenaMapping) throws(ArenaError) {
        let magic = mapping.cell(at: ArenaLayout.Offset.magic).pointee.load(ordering: .acquiring)
        guard magic != 0 else { throw .notFormatted }
        guard magic == ArenaLayout.magic else { throw .wrongMagic(found: magic) }
        let version = mapping.base.load(fromByteOffset: ArenaLayout.Offset.version, as: UInt32.self)
        guard version == ArenaLayout.version else {
            throw .unsupportedVersion(found: version, supported: ArenaLayout.version)
        }
        let headerSize = mapping.base.load(fromByteOffset: ArenaLayout.Offset.headerSize, as: UInt32.self)
        guard headerSize == UInt32(ArenaLayout.headerSize) else {
            throw .invalidHeader("header size \(headerSize), expected \(ArenaLayout.headerSize)")
        }
        let totalSize = try Self.word(mapping, ArenaLayout.Offset.totalSize, "total size")
        guard totalSize == mapping.size else {
            throw .invalidHeader("total size \(totalSize), but the file has \(mapping.size) bytes")
        }
        descriptorOffset = try Self.word(mapping, ArenaLayout.Offset.descriptorOffset, "descriptor offset")
        descriptorSize = try Self.word(mapping, ArenaLayout.Offset.descriptorSize, "descriptor size")
        valueOffset = try Self.word(mapping, ArenaLayout.Offset.valueOffset, "value offset")
        valueSize = try Self.word(mapping, ArenaLayout.Offset.valueSize, "value size")
        guard descriptorOffset >= ArenaLayout.headerSize, descriptorOffset % 8 == 0, descriptorSize % 8 == 0 else {
            throw .invalidHeader("the descriptor area (\(descriptorOffset), \(descriptorSize)) is out of place")
        }
        guard valueOffset % 64 == 0, valueSize % 8 == 0, valueOffset >= descriptorOffset + descriptorSize,
            valueOffset + valueSize <= totalSize
        else {
            throw .invalidHeader("the value area (\(valueOffset), \(valueSize)) is out of place")
        }
    }

    /// Writes the constant part into an empty mapping; the magic number, written last, makes it valid.
    func write(to mapping: ArenaMapping) {
        mapping.base.storeBytes(
            of: ArenaLayout.version, toByteOffset: ArenaLayout.Offset.version, as: UInt32.self)
        mapping.base.storeBytes(
            of: UInt32(ArenaLayout.headerSize), toByteOffset: ArenaLayout.Offset.headerSize, as: UInt32.self)
        let words: [(offset: Int, value: Int)] = [
            (ArenaLayout.Offset.totalSize, mapping.size),
            (ArenaLayout.Offset.descriptorOffset, descriptorOffset),
            (ArenaLayout.Offset.descriptorSize, descriptorSize),
            (ArenaLayout.Offset.valueOffset, valueOffset),
            (ArenaLayout.Offset.valueSize, valueSize),
            (ArenaLayout.Offset.committedDescriptorBytes, 0),
            (ArenaLayout.Offset.committedValueBytes, 0),
            (ArenaLayout.Offset.epoch, 0),
            (ArenaLayout.Offset.droppedSeries, 0),
            (ArenaLayout.Offset.droppedUpdates, 0),
        ]
        for word in words {
            mapping.cell(at: word.offset).pointee.store(UInt64(word.value), ordering: .relaxed)
        }
        mapping.cell(at: ArenaLayout.Offset.magic).pointee.store(ArenaLayout.magic, ordering: .releasing)
    }

    /// How much of the descriptor area is published, checked against the area's size.
    func committedDescriptorBytes(_ mapping: ArenaMapping) throws(ArenaError) -> Int {
        let word = mapping.cell(at: ArenaLayout.Offset.committedDescriptorBytes).pointee.load(ordering: .acquiring)
        guard word <= UInt64(descriptorSize), word % 8 == 0 else {
            throw .invalidHeader("\(word) committed descriptor bytes in an area of \(descriptorSize)")
        }
        return Int(word)
    }

    /// How much of the value area is allocated, checked against the area's size.
    func committedValueBytes(_ mapping: ArenaMapping) throws(ArenaError) -> Int {
        let word = mapping.cell(at: ArenaLayout.Offset.committedValueBytes).pointee.load(ordering: .acquiring)
        guard word <= UInt64(valueSize), word % 8 == 0 else {
            throw .invalidHeader("\(word) committed value bytes in an area of \(valueSize)")
        }
        return Int(word)
    }

    /// A word of the header; what exceeds the mapping cannot be right, and sums of what does not cannot overflow.
    private static func word(_ mapping: ArenaMapping, _ offset: Int, _ name: String) throws(ArenaError) -> Int {
        let word = mapping.cell(at: offset).pointee.load(ordering: .relaxed)
        guard word <= UInt64(mapping.size) else {
            throw .invalidHeader("\(name) \(word) in a file of \(mapping.size) bytes")
        }
        return Int(word)
    }
}
