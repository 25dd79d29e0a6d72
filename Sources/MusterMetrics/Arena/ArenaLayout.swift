// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Numbers of the arena's layout, version 2. `docs/arena-layout.md` describes them for other implementations.
enum ArenaLayout {
    /// "MUSTARNA" read as a little-endian word.
    static let magic: UInt64 = 0x414E_5241_5453_554D
    static let version: UInt32 = 2
    static let headerSize = 256
    static let minimumSize = 4096

    /// Byte offsets inside the header.
    enum Offset {
        static let magic = 0
        static let version = 8
        static let headerSize = 12
        static let totalSize = 16
        static let descriptorOffset = 24
        static let descriptorSize = 32
        static let valueOffset = 40
        static let valueSize = 48
        static let writerPid = 56
        static let committedDescriptorBytes = 64
        static let committedValueBytes = 72
        static let epoch = 80
        static let droppedSeries = 128
        static let droppedUpdates = 136
        static let exemplarOffset = 144
        static let exemplarSlots = 152
        static let hasExemplars = 160
    }

    /// What a record in the descriptor area describes.
    enum RecordKind: UInt16 {
        case family = 1
        case series = 2
    }

    static let recordHeaderSize = 8

    static let maximumNameBytes = 512
    static let maximumHelpBytes = 4096
    static let maximumLabelNames = 32
    static let maximumLabelValueBytes = 4096
    static let maximumBuckets = 200
    /// The cells of the largest series: the sum, all buckets of a precise histogram, and those at both ends of its range.
    static let maximumCells = maximumBuckets + NativeBuckets.maximumOctaves << NativeBuckets.schema + 3

    /// The next multiple of a power of two.
    static func align(_ value: Int, to alignment: Int) -> Int {
        (value + alignment - 1) & ~(alignment - 1)
    }
}

/// Where an arena's areas lie: the header's constant part, checked and copied out of the shared memory.
struct ArenaHeader: Sendable {
    let descriptorOffset: Int
    let descriptorSize: Int
    let valueOffset: Int
    let valueSize: Int
    let exemplarOffset: Int
    /// A power of two; 0 for none.
    let exemplarSlots: Int

    /// Divides a fresh arena: a quarter describes, the rest counts, as a precise histogram has many cells. Its end is for
    /// exemplars.
    init(totalSize: Int) {
        exemplarSlots = totalSize >= ExemplarTable.smallestArena ? ExemplarTable.slots : 0
        exemplarOffset = exemplarSlots == 0 ? 0 : (totalSize & ~63) - exemplarSlots * ExemplarTable.slotSize
        let quarter = ArenaLayout.align(ArenaLayout.headerSize + (totalSize - ArenaLayout.headerSize) / 4, to: 64)
        descriptorOffset = ArenaLayout.headerSize
        descriptorSize = quarter - ArenaLayout.headerSize
        valueOffset = quarter
        valueSize = ((exemplarSlots == 0 ? totalSize : exemplarOffset) - quarter) & ~7
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
        exemplarOffset = try Self.word(mapping, ArenaLayout.Offset.exemplarOffset, "exemplar offset")
        exemplarSlots = try Self.word(mapping, ArenaLayout.Offset.exemplarSlots, "exemplar slots")
        guard
            exemplarSlots == 0
                || exemplarSlots & (exemplarSlots - 1) == 0 && exemplarOffset % 64 == 0
                    && exemplarOffset >= valueOffset + valueSize
                    && exemplarSlots <= (totalSize - exemplarOffset) / ExemplarTable.slotSize
        else {
            throw .invalidHeader("the exemplars (\(exemplarOffset), \(exemplarSlots)) are out of place")
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
            (ArenaLayout.Offset.exemplarOffset, exemplarOffset),
            (ArenaLayout.Offset.exemplarSlots, exemplarSlots),
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

/// Encodes records of the descriptor area.
enum ArenaRecord {
    static func family(_ definition: FamilyDefinition, identifier: Int) -> [UInt8] {
        var bytes = start(.family)
        append(UInt32(identifier), to: &bytes)
        bytes.append(definition.type.rawValue)
        bytes.append(definition.isFloatingPoint ? 2 : 1)
        bytes.append(UInt8(definition.labelNames.count))
        let native = definition.buckets?.native
        bytes.append(native == nil ? 0 : UInt8(NativeBuckets.schema))
        append(UInt16(definition.name.utf8.count), to: &bytes)
        append(UInt16(definition.unit?.name.utf8.count ?? 0), to: &bytes)
        append(UInt16(definition.help.utf8.count), to: &bytes)
        append(UInt16(definition.bucketBounds.count), to: &bytes)
        append(Int16(native?.lowestExponent ?? 0), to: &bytes)
        append(UInt16(native?.octaves ?? 0), to: &bytes)
        append(UInt32(0), to: &bytes)
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

/// Everything that makes a metric family, as it is registered and as it stands in an arena.
struct FamilyDefinition: Hashable, Sendable {
    /// The name in the text format: a counter's ends in `_total`, an information's in `_info`.
    var name: String
    var type: MetricType
    /// Whether a counter's cell holds the bits of a double instead of an integer.
    var isFloatingPoint: Bool
    var unit: MetricUnit?
    var help: String
    var labelNames: [String]
    /// A histogram's buckets; `nil` for anything else.
    var buckets: HistogramBuckets?

    /// The bounds of a histogram's buckets, as they are shown in text.
    var bucketBounds: [Double] { buckets?.bounds ?? [] }

    /// The name without the suffix that the type demands: the family's name in OpenMetrics.
    var baseName: String { FamilyDescriptor.baseName(of: name, type: type) }

    /// How this family differs from a registered one of the same name; `nil` when both may share their series.
    ///
    /// The help text is not compared: the first one stays.
    func difference(to other: FamilyDefinition) -> String? {
        if name != other.name || type != other.type {
            return "it is registered as the \(other.type) \(other.name)"
        }
        if isFloatingPoint != other.isFloatingPoint {
            return "it is registered as \(other.isFloatingPoint ? "a floating point" : "an integer") counter"
        }
        if unit != other.unit {
            return "it is registered with \(other.unit.map { "the unit \($0.name)" } ?? "no unit")"
        }
        if labelNames != other.labelNames {
            return "it is registered with the labels \(other.labelNames)"
        }
        if bucketBounds != other.bucketBounds {
            return "it is registered with the bucket bounds \(other.bucketBounds)"
        }
        if buckets != other.buckets {
            let range = other.buckets?.native.map { " from 2^\($0.lowestExponent), over \($0.octaves) powers of 2" }
            return "it is registered \(range.map { "as precise" + $0 } ?? "as not precise")"
        }
        return nil
    }

    /// Checks names, unit, labels and bounds against the rules of both exposition formats.
    func validate() throws(MetricError) {
        try MetricGrammar.validate(name: name, type: type)
        if let unit {
            try MetricGrammar.validate(unit: unit, baseName: baseName, type: type)
        }
        try MetricGrammar.validate(labelNames: labelNames, of: name)
        guard help.utf8.count <= ArenaLayout.maximumHelpBytes else {
            throw .invalidHelp(
                metric: name, problem: "it has \(help.utf8.count) bytes; at most \(ArenaLayout.maximumHelpBytes) fit")
        }
        guard (type == .histogram) == (buckets != nil) else {
            throw .invalidBuckets("a histogram has buckets, and nothing else has; \(name) is a \(type)")
        }
    }

    /// The bytes one series takes in the value area.
    var valueSize: Int {
        switch type {
        case .counter: 8
        case .gauge, .info: 16
        case .histogram: ((buckets?.layout.count ?? 0) + 2) * 8
        }
    }

    /// What the offset of one series is a multiple of; a histogram never shares a cache line with its neighbours.
    var valueAlignment: Int {
        switch type {
        case .counter: 8
        case .gauge, .info: 16
        case .histogram: 64
        }
    }
}

/// Reads little-endian numbers and strings from bytes that may say anything.
struct ByteCursor {
    private let bytes: [UInt8]
    private let base: Int
    private let start: Int
    private var position: Int
    private var end: Int

    init(_ bytes: [UInt8], from start: Int, to end: Int, base: Int) {
        self.bytes = bytes
        self.base = base
        self.start = start
        self.position = start
        self.end = end
    }

    mutating func limit(to end: Int) {
        self.end = min(self.end, end)
    }

    /// An error about the record that the cursor reads.
    func error(_ reason: String) -> ArenaError {
        .invalidRecord(offset: base + start, reason: reason)
    }

    mutating func uint8() throws(ArenaError) -> UInt8 { UInt8(truncatingIfNeeded: try word(1)) }
    mutating func uint16() throws(ArenaError) -> UInt16 { UInt16(truncatingIfNeeded: try word(2)) }
    mutating func uint32() throws(ArenaError) -> UInt32 { UInt32(truncatingIfNeeded: try word(4)) }
    mutating func uint64() throws(ArenaError) -> UInt64 { try word(8) }

    mutating func string(_ count: Int) throws(ArenaError) -> String {
        guard count <= end - position else { throw error("a string of \(count) bytes runs over the record's end") }
        guard let string = String(validating: bytes[position..<position + count], as: UTF8.self) else {
            throw error("a string is not UTF-8")
        }
        position += count
        return string
    }

    /// Checks that nothing but padding is left.
    func finish() throws(ArenaError) {
        guard end - position < 8 else { throw error("\(end - position) bytes are left over") }
    }

    private mutating func word(_ count: Int) throws(ArenaError) -> UInt64 {
        guard count <= end - position else { throw error("the record is too short") }
        var word: UInt64 = 0
        for index in 0..<count { word |= UInt64(bytes[position + index]) << UInt64(8 * index) }
        position += count
        return word
    }
}
