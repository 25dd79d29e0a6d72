// SPDX-License-Identifier: Apache-2.0

package import Logging
import MusterLock
package import MusterPlatform
import Synchronization

/// Renders the metrics of several sources as one exposition.
///
/// Families of the same name are merged: sources in their order, series in theirs, families by name. The sources
/// must tell their series apart by labels. Where two sources mean different types by one name, the first source's
/// family stays; the other one is left out and logged once.
package final class Exposition: Sendable {
    private let logger: Logger
    private let state: Locked<State>

    private struct State {
        var sources: [any MetricSource]
        var reported: Set<String> = []
    }

    /// Creates an exposition.
    ///
    /// - Parameters:
    ///   - sources: Where the metrics come from.
    ///   - logger: Where families that had to be left out are reported.
    package init(sources: [any MetricSource], logger: Logger = Logger(label: "muster.metrics").queued) {
        self.logger = logger
        state = Locked(State(sources: sources))
    }

    /// Adds a source; scrapes under way do not see it.
    package func add(_ source: any MetricSource) {
        state.withLock { $0.sources.append(source) }
    }

    /// Renders all metrics. Several scrapes may do so at once.
    ///
    /// - Parameters:
    ///   - format: The exposition's format.
    ///   - names: The families to show, by their names in either format; all of them when empty.
    ///   - memory: Receives the exposition in place of its content.
    package func render(_ format: ExpositionFormat, names: Set<String> = [], into memory: GrowingBytes) {
        let sources = state.withLock { $0.sources }
        let prepared = sources.map { Self.sorted($0.prepare(for: format)) }
        var writer = SampleWriter(format: format, into: memory)
        var next = [Int](repeating: 0, count: prepared.count)
        var written: [String: String] = [:]
        while let name = Self.firstName(prepared, next) {
            var first: FamilyDescriptor?
            var beforeMetadata = 0
            var beforeSamples = 0
            for source in prepared.indices {
                while next[source] < prepared[source].families.count,
                    prepared[source].families[next[source]].descriptor.name == name
                {
                    let (family, index) = prepared[source].families[next[source]]
                    next[source] += 1
                    let baseName = family.baseName
                    guard names.isEmpty || names.contains(name) || names.contains(baseName) else { continue }
                    if let first {
                        guard family.type == first.type else {
                            leaveOut(family, because: "another source means a \(first.type) by this name")
                            continue
                        }
                    } else {
                        guard MetricGrammar.isIdentifier(name) else {
                            leaveOut(family, because: "the name is not allowed")
                            continue
                        }
                        if let other = written[baseName] {
                            leaveOut(family, because: "in OpenMetrics it has the same name as \(other)")
                            continue
                        }
                        written[baseName] = name
                        first = family
                        beforeMetadata = writer.count
                        writer.metadata(of: family)
                        beforeSamples = writer.count
                    }
                    prepared[source].metrics.writeSamples(of: index, to: &writer)
                }
            }
            // A family that has nothing to show at present is not mentioned.
            guard let first else { continue }
            if writer.count == beforeSamples {
                writer.rewind(to: beforeMetadata)
                written[first.baseName] = nil
            } else {
                writer.endFamily()
            }
        }
        writer.end()
    }

    /// All metrics, as ``render(_:names:into:)`` writes them.
    package func rendered(_ format: ExpositionFormat, names: Set<String> = []) -> [UInt8] {
        let memory = GrowingBytes()
        render(format, names: names, into: memory)
        return memory.withBytes { Array($0) }
    }

    private struct Prepared {
        var metrics: any PreparedMetrics
        var families: [(descriptor: FamilyDescriptor, index: Int)]
    }

    /// Pairs families with their places, and puts them in order where a source did not.
    private static func sorted(_ metrics: any PreparedMetrics) -> Prepared {
        var families = metrics.families.enumerated().map { (descriptor: $0.element, index: $0.offset) }
        let isSorted = zip(families, families.dropFirst()).allSatisfy { $0.descriptor.name <= $1.descriptor.name }
        if !isSorted { families.sort { ($0.descriptor.name, $0.index) < ($1.descriptor.name, $1.index) } }
        return Prepared(metrics: metrics, families: families)
    }

    private static func firstName(_ prepared: [Prepared], _ next: [Int]) -> String? {
        var first: String?
        for (source, position) in zip(prepared, next) where position < source.families.count {
            let name = source.families[position].descriptor.name
            if first.map({ name < $0 }) ?? true { first = name }
        }
        return first
    }

    private func leaveOut(_ family: FamilyDescriptor, because reason: String) {
        let isNew = state.withLock { state in
            // Arenas come and go; what is remembered about them must not grow for ever.
            guard state.reported.count < 1000 else { return false }
            return state.reported.insert("\(family.name) \(family.type)").inserted
        }
        guard isNew else { return }
        logger.error(
            "metric family left out of exposition: \(reason)",
            metadata: ["metric": "\(family.name)", "type": "\(family.type)"])
    }
}

/// The formats in which metrics are exposed.
package enum ExpositionFormat: Int, Hashable, Sendable {
    /// Prometheus' text format, version 0.0.4.
    case text
    /// OpenMetrics, version 1.0.0.
    case openMetrics
    /// Prometheus' protobuf format: messages `io.prometheus.client.MetricFamily`, each with its length in front. Native
    /// histograms are told in this one only.
    case protobuf

    /// The value of HTTP's `Content-Type`.
    package var contentType: String {
        switch self {
        case .text: "text/plain; version=0.0.4; charset=utf-8"
        case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
        case .protobuf: "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
        }
    }
}

/// Where an exposition gets metrics from.
package protocol MetricSource: Sendable {
    /// Fixes what this source has to say in one scrape. Called from any thread, also by several scrapes at once.
    ///
    /// - Parameter format: The format in which it will be said.
    func prepare(for format: ExpositionFormat) -> any PreparedMetrics
}

/// Exposes families that a closure makes at each scrape, for what is cheaper to look up than to keep.
package struct CollectorSource: MetricSource {
    private let collect: @Sendable () -> [CollectedFamily]

    /// Creates a source.
    ///
    /// - Parameter collect: Makes the families; called from any thread, also by several scrapes at once. Histograms
    ///   are left out: they cannot be told by single samples.
    package init(_ collect: @escaping @Sendable () -> [CollectedFamily]) {
        self.collect = collect
    }

    /// Makes the families for one scrape.
    package func prepare(for format: ExpositionFormat) -> any PreparedMetrics {
        PreparedCollection(collect())
    }
}

/// A family made at the time of the scrape.
package struct CollectedFamily: Sendable {
    /// What is said about the family; its type is a counter, a gauge or an information.
    package var descriptor: FamilyDescriptor
    /// The samples, in the order in which they shall appear.
    package var samples: [(labels: [(name: String, value: String)], value: Double)]

    /// Makes a family.
    ///
    /// - Parameters:
    ///   - descriptor: What is said about the family.
    ///   - samples: The samples; a family without samples is not shown.
    package init(
        _ descriptor: FamilyDescriptor, samples: [(labels: [(name: String, value: String)], value: Double)]
    ) {
        self.descriptor = descriptor
        self.samples = samples
    }

    /// Makes a family of one sample without labels.
    package init(_ descriptor: FamilyDescriptor, value: Double) {
        self.init(descriptor, samples: [(labels: [], value: value)])
    }
}

/// A family of an arena with the text of its lines up to the values.
struct RenderedFamily: Sendable {
    let definition: FamilyDefinition
    /// The lines' beginnings, one behind the other.
    private(set) var text: [UInt8] = []
    /// Where each line's beginning ends in `text`.
    private(set) var lineEnds: [Int] = []
    /// Where each series' cells begin in the arena; ``SeriesDecoder/noCells`` for one that is known from carried totals only.
    private(set) var valueOffsets: [Int] = []
    /// Totals of earlier arenas, as many words for each series as it has cells; empty when there are none, and then
    /// every series has cells in the arena.
    private(set) var carried: [UInt64] = []

    /// The labels of the first series as they stand in messages, one series' behind the other's; only for a scraper that
    /// has asked for messages.
    private(set) var labels: [UInt8] = []
    /// Where each series' labels end in `labels`.
    private(set) var labelEnds: [Int] = []

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
        for series in valueOffsets.indices { valueOffsets[series] = SeriesDecoder.noCells }
    }

    /// Raises the carried totals of the first series to what they were plus what an arena says by now.
    ///
    /// Nothing is lowered, and what is no finite number stays out: the arena may have been scribbled on.
    mutating func carry(_ mapping: ArenaMapping, valueOffsets: [Int], base: [UInt64]) {
        let decoder = SeriesDecoder(definition, in: mapping, carried: base)
        for (series, offset) in valueOffsets.enumerated() where offset != SeriesDecoder.noCells {
            for cell in 0..<wordsPerSeries {
                let place = series * wordsPerSeries + cell
                switch decoder.kind {
                case .floatingPointCounter:
                    let total = decoder.number(of: series, at: offset)
                    if total.isFinite, total > Double(bitPattern: carried[place]) { carried[place] = total.bitPattern }
                case .histogram where cell == 0:
                    let sum = decoder.number(of: series, at: offset)
                    if sum.isFinite { carried[place] = sum.bitPattern }
                default: carried[place] = max(carried[place], decoder.count(cell, of: series, at: offset))
                }
            }
        }
    }

    /// Encodes the labels of series that have joined since, out of their text.
    mutating func encodeLabels() {
        guard labelEnds.count < valueOffsets.count else { return }
        let linesPerSeries = SeriesDecoder.lineCount(of: definition)
        while labelEnds.count < valueOffsets.count {
            // The last line, as a histogram's first ones have a label more.
            let line = (labelEnds.count + 1) * linesPerSeries - 1
            let start = line == 0 ? 0 : lineEnds[line - 1]
            LabelMessage.append(ofLine: text[start..<lineEnds[line]], to: &labels)
            labelEnds.append(labels.count)
        }
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

/// What an exposition says about a metric family.
package struct FamilyDescriptor: Hashable, Sendable {
    /// The name in the text format: a counter's ends in `_total`, an information's in `_info`.
    package var name: String
    /// What the family measures.
    package var type: MetricType
    /// One sentence for people; may be empty.
    package var help: String
    /// The unit; its name must be the suffix of ``baseName`` to be shown.
    package var unit: MetricUnit?

    /// Describes a family.
    package init(name: String, type: MetricType, help: String, unit: MetricUnit? = nil) {
        self.name = name
        self.type = type
        self.help = help
        self.unit = unit
    }

    init(_ definition: FamilyDefinition) {
        self.init(name: definition.name, type: definition.type, help: definition.help, unit: definition.unit)
    }

    /// The family's name in OpenMetrics: ``name`` without the suffix that the type demands.
    package var baseName: String { Self.baseName(of: name, type: type) }

    static func baseName(of name: String, type: MetricType) -> String {
        let suffix =
            switch type {
            case .counter: "_total"
            case .info: "_info"
            case .gauge, .histogram: ""
            }
        guard !suffix.isEmpty, name.utf8.count > suffix.utf8.count, name.hasSuffix(suffix) else { return name }
        return String(name.dropLast(suffix.count))
    }
}

/// What a metric family measures. The raw values are part of the arena's layout.
package enum MetricType: UInt8, Hashable, Sendable, CustomStringConvertible {
    /// A total that only rises.
    case counter = 1
    /// A value that goes up and down.
    case gauge = 2
    /// A distribution over buckets, with its sum and count.
    case histogram = 3
    /// Text in labels, with the constant value 1.
    case info = 4

    package var description: String {
        switch self {
        case .counter: "counter"
        case .gauge: "gauge"
        case .histogram: "histogram"
        case .info: "info"
        }
    }
}
