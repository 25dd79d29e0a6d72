// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterLock
package import MusterPlatform
import Synchronization

/// The writing side of a metric arena: a memory file in which a process describes and counts its series.
///
/// A reader in another process sees every update at once and needs nothing from the writer, so that the values of
/// a hung or killed process stay readable. The next process that attaches to the same file goes on with the same
/// series: counters and histograms keep their totals; gauges and informations vanish until they are set again.
/// Two processes may write to one arena for a while, as a replacement and its predecessor do: counters add up, and
/// the gauges of the one that attached first are ignored.
///
/// What does not fit is dropped and counted in ``droppedSeries``. Most programs reach an arena only through
/// ``MetricRegistry``.
package final class ArenaWriter: Sendable {
    /// The size of an arena in bytes by default. Pages that hold nothing take no memory.
    package static let defaultCapacity = 8 << 20

    /// The memory file, for the process that reads the arena and the one that attaches to it next.
    package let descriptor: OwnedDescriptor
    /// The number of this writer's generation: 1 for the first that attached to the arena.
    package let epoch: UInt64

    let mapping: ArenaMapping
    private let header: ArenaHeader
    private let state: Locked<State>

    private struct State {
        var index = ArenaIndex()
        /// How many descriptor bytes the index holds.
        var parsed = 0
        /// Gauges that this process has already taken over from an earlier generation.
        var adopted: Set<Int> = []
        /// How many of this process' threads want other processes to append nothing.
        var holders = 0

        mutating func acquire(_ lock: ProcessFileLock) {
            if holders == 0 { lock.acquire() }
            holders += 1
        }

        mutating func release(_ lock: ProcessFileLock) {
            holders -= 1
            if holders == 0 { lock.release() }
        }
    }

    /// Attaches to a memory file: formats an empty one, goes on with the series of a used one.
    ///
    /// - Parameter descriptor: A memory file sealed against shrinking and growing.
    /// - Throws: ``ArenaError`` when the file is not sealed, was laid out by another version or was overwritten.
    package convenience init(descriptor: OwnedDescriptor) throws(ArenaError) {
        let mapping = try ArenaMapping(descriptor: descriptor.rawValue, writable: true)
        try self.init(descriptor: descriptor, mapping: mapping)
    }

    private init(descriptor: OwnedDescriptor, mapping: ArenaMapping) throws(ArenaError) {
        self.descriptor = descriptor
        self.mapping = mapping
        let lock = ProcessFileLock(descriptor.rawValue)
        lock.acquire()
        defer { lock.release() }
        if mapping.cell(at: ArenaLayout.Offset.magic).pointee.load(ordering: .acquiring) == 0 {
            ArenaHeader(totalSize: mapping.size).write(to: mapping)
        }
        header = try ArenaHeader(mapping)
        var first = State()
        try Self.catchUp(&first, mapping, header)
        state = Locked(first)
        // The process comes before its epoch: who knows an epoch by its process never blames a successor's on a
        // predecessor.
        mapping.cell(at: ArenaLayout.Offset.writerPid).pointee.store(UInt64(getpid()), ordering: .relaxed)
        epoch =
            mapping.cell(at: ArenaLayout.Offset.epoch).pointee.wrappingAdd(1, ordering: .acquiringAndReleasing)
            .newValue
    }

    private init(privateMemory: ArenaMapping) {
        descriptor = OwnedDescriptor(-1)
        mapping = privateMemory
        header = ArenaHeader(totalSize: privateMemory.size)
        header.write(to: privateMemory)
        state = Locked(State())
        mapping.cell(at: ArenaLayout.Offset.epoch).pointee.store(1, ordering: .relaxed)
        epoch = 1
    }

    /// Creates a sealed memory file and attaches to it.
    ///
    /// - Parameters:
    ///   - name: What the file is called in `/proc/PID/fd`.
    ///   - capacity: The file's size in bytes; about a quarter of it holds descriptions, the rest values.
    /// - Throws: ``ArenaError`` when the system has no memory file to give or the capacity is too small.
    package static func create(
        name: String, capacity: Int = ArenaWriter.defaultCapacity
    ) throws(ArenaError) -> ArenaWriter {
        try ArenaWriter(descriptor: ArenaFile.create(name: name, capacity: capacity))
    }

    /// Creates an arena in private memory, which cannot be exported.
    static func privateArena() -> ArenaWriter {
        ArenaWriter(privateMemory: ArenaMapping(privateBytes: 256 << 10))
    }

    /// How often a series was refused since the arena was made: no room, or over its family's limit.
    package var droppedSeries: UInt64 {
        mapping.cell(at: ArenaLayout.Offset.droppedSeries).pointee.load(ordering: .relaxed)
    }

    /// How many updates were refused since the arena was made: a counter's decrement, an observation that is no
    /// finite number.
    package var droppedUpdates: UInt64 {
        mapping.cell(at: ArenaLayout.Offset.droppedUpdates).pointee.load(ordering: .relaxed)
    }

    /// Where to write exemplars; `nil` in a small arena.
    var exemplars: ExemplarTable? { ExemplarTable(mapping, header) }

    func countDroppedSeries() {
        mapping.cell(at: ArenaLayout.Offset.droppedSeries).pointee.wrappingAdd(1, ordering: .relaxed)
    }

    func countDroppedUpdate() {
        mapping.cell(at: ArenaLayout.Offset.droppedUpdates).pointee.wrappingAdd(1, ordering: .relaxed)
    }

    /// The name of the family whose series begins at an offset.
    func familyName(at offset: Int) -> String? {
        state.withLock { state in
            state.index.families.first { $0.series.contains { $0.valueOffset == offset } }?.definition.name
        }
    }

    // MARK: - Registration

    enum FamilyRegistration: Sendable {
        case family(Int)
        case clash(FamilyDefinition)
        case full
    }

    enum SeriesRegistration: Sendable {
        case values(offset: Int)
        case overLimit
        case full
    }

    /// Runs what registers several families and series: other processes append nothing meanwhile, and the lock that sees to
    /// that is taken once.
    func registerTogether<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        let lock = ProcessFileLock(descriptor.rawValue)
        state.withLock { $0.acquire(lock) }
        defer { state.withLock { $0.release(lock) } }
        return try body()
    }

    /// Finds a family or describes it anew.
    func register(_ definition: FamilyDefinition) -> FamilyRegistration {
        state.withLock { state in
            if let found = Self.find(definition, in: state.index) { return found }
            let lock = ProcessFileLock(descriptor.rawValue)
            state.acquire(lock)
            defer { state.release(lock) }
            guard (try? Self.catchUp(&state, mapping, header)) != nil else { return .full }
            if let found = Self.find(definition, in: state.index) { return found }
            let identifier = state.index.families.count
            let record = ArenaRecord.family(definition, identifier: identifier)
            guard record.count <= header.descriptorSize - state.parsed else { return .full }
            publish(record, &state)
            state.index.append(definition)
            return .family(identifier)
        }
    }

    /// Finds a series or makes it.
    ///
    /// - Parameters:
    ///   - family: The family's number, from ``register(_:)``.
    ///   - labelValues: As many values as the family has labels, none longer than the layout allows.
    ///   - limit: How many series the family may have.
    func series(family: Int, labelValues: [String], limit: Int) -> SeriesRegistration {
        state.withLock { state in
            if let offset = state.index.valueOffset(family: family, labelValues: labelValues) {
                adopt(offset, family, &state)
                return .values(offset: offset)
            }
            guard state.index.families[family].series.count < limit else { return .overLimit }
            let lock = ProcessFileLock(descriptor.rawValue)
            state.acquire(lock)
            defer { state.release(lock) }
            guard (try? Self.catchUp(&state, mapping, header)) != nil else { return .full }
            if let offset = state.index.valueOffset(family: family, labelValues: labelValues) {
                adopt(offset, family, &state)
                return .values(offset: offset)
            }
            let definition = state.index.families[family].definition
            let offset = ArenaLayout.align(header.valueOffset + state.index.valueEnd, to: definition.valueAlignment)
            let valueEnd = offset - header.valueOffset + definition.valueSize
            let series = ArenaSeries(labelValues: labelValues, valueOffset: offset)
            let record = ArenaRecord.series(series, family: family)
            guard valueEnd <= header.valueSize, record.count <= header.descriptorSize - state.parsed else {
                return .full
            }
            for cell in stride(from: offset, to: offset + definition.valueSize, by: 8) {
                mapping.cell(at: cell).pointee.store(0, ordering: .relaxed)
            }
            mapping.cell(at: ArenaLayout.Offset.committedValueBytes).pointee
                .store(UInt64(valueEnd), ordering: .releasing)
            publish(record, &state)
            state.index.append(series, family: family, header: header)
            state.adopted.insert(offset)
            return .values(offset: offset)
        }
    }

    private static func find(_ definition: FamilyDefinition, in index: ArenaIndex) -> FamilyRegistration? {
        guard let identifier = index.family(baseName: definition.baseName) else { return nil }
        let known = index.families[identifier].definition
        return definition.difference(to: known) == nil ? .family(identifier) : .clash(known)
    }

    /// Reads what another process has appended since.
    private static func catchUp(
        _ state: inout State, _ mapping: ArenaMapping, _ header: ArenaHeader
    ) throws(ArenaError) {
        let committed = try header.committedDescriptorBytes(mapping)
        guard committed != state.parsed else { return }
        guard committed > state.parsed else {
            throw .invalidHeader("\(committed) committed descriptor bytes, after \(state.parsed)")
        }
        let valueLimit = try header.committedValueBytes(mapping)
        let start = header.descriptorOffset
        try state.index.parse(
            mapping.copy(start + state.parsed..<start + committed), base: state.parsed, header: header,
            valueLimit: valueLimit)
        state.parsed = committed
    }

    /// Copies a record behind the published ones, then publishes it: a process that dies between the two leaves
    /// nothing behind that a reader could see.
    private func publish(_ record: [UInt8], _ state: inout State) {
        let target = UnsafeMutableRawBufferPointer(
            start: mapping.base + header.descriptorOffset + state.parsed, count: record.count)
        target.copyBytes(from: record)
        state.parsed += record.count
        mapping.cell(at: ArenaLayout.Offset.committedDescriptorBytes).pointee
            .store(UInt64(state.parsed), ordering: .releasing)
    }

    /// Empties a gauge of an earlier generation on its first use by this one, so that it does not start from a
    /// dead process' value.
    private func adopt(_ offset: Int, _ family: Int, _ state: inout State) {
        let type = state.index.families[family].definition.type
        guard type == .gauge || type == .info, state.adopted.insert(offset).inserted else { return }
        guard mapping.cell(at: offset + 8).pointee.load(ordering: .relaxed) != epoch else { return }
        mapping.cell(at: offset).pointee.store(0, ordering: .relaxed)
    }
}

/// The content of an arena's descriptor area, in the order of registration.
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
        let schema = Int(try cursor.uint8())
        let nameLength = Int(try cursor.uint16())
        let unitLength = Int(try cursor.uint16())
        let helpLength = Int(try cursor.uint16())
        let boundCount = Int(try cursor.uint16())
        let lowestExponent = Int(Int16(bitPattern: try cursor.uint16()))
        let octaves = Int(try cursor.uint16())
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
            help: help, labelNames: labelNames,
            buckets: try buckets(bounds, schema, lowestExponent, octaves, cursor))
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

    private func buckets(
        _ bounds: [Double], _ schema: Int, _ lowestExponent: Int, _ octaves: Int, _ cursor: ByteCursor
    ) throws(ArenaError) -> HistogramBuckets? {
        var native: NativeBuckets?
        if schema != 0 {
            native = NativeBuckets(lowestExponent: lowestExponent, highestExponent: lowestExponent + octaves)
            guard schema == NativeBuckets.schema, native != nil else {
                throw cursor.error("native buckets of schema \(schema), from 2^\(lowestExponent) over \(octaves)")
            }
        }
        guard !bounds.isEmpty || native != nil else { return nil }
        do throws(MetricError) {
            return try HistogramBuckets(bounds, native: native)
        } catch {
            throw cursor.error(error.description)
        }
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
