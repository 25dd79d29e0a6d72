// SPDX-License-Identifier: Apache-2.0

public import Logging
import MusterPlatform
import Synchronization

/// Exposes an arena's series, each with constant labels that say whose arena it is.
///
/// The text in front of each value is rendered once, when the series first appears; a scrape loads the values and
/// writes numbers. A label of the arena that bears the name of a constant label is shown as `exported_NAME`.
public final class ArenaSource: MetricSource {
    private let reader: ArenaReader
    private let constantLabels: [(name: String, value: String)]
    private let logger: Logger
    private let cache: Locked<Cache>

    /// How many bytes of rendered text one arena may take. A histogram's labels are repeated on each of its lines,
    /// so that a small arena of long labels could otherwise take hundreds of times its size.
    static let defaultTextLimit = 64 << 20
    private let textLimit: Int

    private struct Cache {
        var families: [RenderedFamily] = []
        var textSize = 0
        var seriesLeftOut: UInt64 = 0
        var hasReportedLimit = false
        var descriptors: [FamilyDescriptor] = []
        var slots: [PreparedArena.Slot] = []
        var hasReportedDamage = false
    }

    /// Creates a source.
    ///
    /// - Parameters:
    ///   - reader: The arena.
    ///   - constantLabels: Labels of every sample, for example the worker's slot.
    ///   - logger: Where a damaged arena is reported.
    public convenience init(
        reader: ArenaReader, constantLabels: [(name: String, value: String)],
        logger: Logger = Logger(label: "muster.metrics")
    ) {
        self.init(
            reader: reader, constantLabels: constantLabels, logger: logger, textLimit: Self.defaultTextLimit)
    }

    init(reader: ArenaReader, constantLabels: [(name: String, value: String)], logger: Logger, textLimit: Int) {
        self.reader = reader
        self.textLimit = textLimit
        self.logger = logger
        self.constantLabels = Self.sound(constantLabels, logger)
        var first = Cache()
        Self.sort(&first)
        cache = Locked(first)
    }

    /// The constant labels without those that break the rules or come twice.
    static func sound(
        _ constantLabels: [(name: String, value: String)], _ logger: Logger
    ) -> [(name: String, value: String)] {
        var sound: [(name: String, value: String)] = []
        for label in constantLabels {
            if let problem = MetricGrammar.problem(labelName: label.name) {
                logger.error(
                    "a constant label was left out", metadata: ["label": "\(label.name)", "why": "\(problem)"])
            } else if !sound.contains(where: { $0.name == label.name }) {
                sound.append(label)
            }
        }
        return sound
    }

    /// Looks for new series and fixes the arena's epoch for one scrape.
    public func prepare() -> any PreparedMetrics {
        let (cache, damage, isOverLimit): (Cache, ArenaError?, Bool) = cache.withLock { cache in
            let damage = reader.withIndex { index, damage in
                update(&cache, from: index)
                return damage
            }
            let news = (damage: cache.hasReportedDamage ? nil : damage, limit: !cache.hasReportedLimit)
            cache.hasReportedDamage = damage != nil
            cache.hasReportedLimit = cache.seriesLeftOut > 0
            return (cache, news.damage, news.limit && cache.hasReportedLimit)
        }
        if let damage {
            logger.error(
                "a metric arena is damaged; series registered from now on are missing",
                metadata: ["error": "\(damage)", "pid": "\(reader.writerPid)"])
        }
        if isOverLimit {
            logger.error(
                "a metric arena needs too much text; later series are missing: use shorter label values, fewer buckets",
                metadata: ["limit": "\(textLimit)", "pid": "\(reader.writerPid)"])
        }
        return PreparedArena(
            reader: reader, epoch: reader.epoch, constantLabels: constantLabels, droppedSeries: cache.seriesLeftOut,
            droppedUpdates: 0, rendered: cache.families, slots: cache.slots, families: cache.descriptors)
    }

    private func update(_ cache: inout Cache, from index: borrowing ArenaIndex) {
        let known = cache.families.count
        for (position, family) in index.families.enumerated() {
            if position >= cache.families.count {
                cache.families.append(RenderedFamily(family.definition))
            }
            for series in family.series[cache.families[position].seriesSeen...] {
                if cache.textSize < textLimit {
                    cache.textSize += cache.families[position].append(series, constantLabels: constantLabels)
                } else {
                    cache.families[position].leaveOut()
                    cache.seriesLeftOut += 1
                }
            }
        }
        if cache.families.count != known { Self.sort(&cache) }
    }

    private static func sort(_ cache: inout Cache) {
        (cache.descriptors, cache.slots) = PreparedArena.order(cache.families)
    }
}

/// One scrape's view of an arena.
struct PreparedArena: PreparedMetrics {
    /// What stands behind a place in `families`.
    enum Slot: Sendable {
        case family(Int)
        case droppedSeries
        case droppedUpdates
    }

    /// The arena in use; `nil` shows carried totals only.
    let reader: ArenaReader?
    /// The generation whose gauges are shown; 0 shows none.
    let epoch: UInt64
    let constantLabels: [(name: String, value: String)]
    /// What is added to the arena's own count of refused series: those of earlier arenas, and those that have no
    /// text because it would be too large.
    let droppedSeries: UInt64
    /// Updates that were refused by earlier arenas.
    let droppedUpdates: UInt64
    let rendered: [RenderedFamily]
    let slots: [Slot]
    let families: [FamilyDescriptor]

    static let droppedSeriesName = "muster_metrics_dropped_series_total"
    static let droppedUpdatesName = "muster_metrics_dropped_updates_total"

    private static let droppedSeriesFamily = FamilyDescriptor(
        name: droppedSeriesName, type: .counter,
        help: "Series that were refused because the arena was full or a family over its limit.")
    private static let droppedUpdatesFamily = FamilyDescriptor(
        name: droppedUpdatesName, type: .counter,
        help: "Updates that were refused: decrements of counters and observations that are no number.")

    /// Puts families, and what every arena counts of itself, in the order of their names.
    static func order(_ rendered: [RenderedFamily]) -> (families: [FamilyDescriptor], slots: [Slot]) {
        var entries: [(descriptor: FamilyDescriptor, slot: Slot)] = [
            (droppedSeriesFamily, .droppedSeries), (droppedUpdatesFamily, .droppedUpdates),
        ]
        for (position, family) in rendered.enumerated() {
            entries.append((FamilyDescriptor(family.definition), .family(position)))
        }
        entries.sort { $0.descriptor.name < $1.descriptor.name }
        return (entries.map(\.descriptor), entries.map(\.slot))
    }

    func writeSamples(of index: Int, to writer: inout SampleWriter) {
        switch slots[index] {
        case .droppedSeries:
            let total = RenderedFamily.saturatingSum(reader?.droppedSeries ?? 0, droppedSeries)
            writer.sample(families[index].name, labels: constantLabels, value: Double(total))
        case .droppedUpdates:
            let total = RenderedFamily.saturatingSum(reader?.droppedUpdates ?? 0, droppedUpdates)
            writer.sample(families[index].name, labels: constantLabels, value: Double(total))
        case .family(let position):
            if !rendered[position].carried.isEmpty {
                writeSums(rendered[position], to: &writer)
            } else if let reader {
                write(rendered[position], of: reader, to: &writer)
            }
        }
    }

    /// Writes the arena's values plus the carried ones, which only totals have.
    private func writeSums(_ family: RenderedFamily, to writer: inout SampleWriter) {
        let bucketCount = family.definition.bucketBounds.count + 1
        let words = family.wordsPerSeries
        family.text.withUnsafeBufferPointer { text in
            family.lineEnds.withUnsafeBufferPointer { lineEnds in
                var prefixes = LinePrefixes(text: text, ends: lineEnds)
                for (series, offset) in family.valueOffsets.enumerated() {
                    func present(_ word: Int) -> UInt64 {
                        guard offset != RenderedFamily.noCells, let reader else { return 0 }
                        return reader.mapping.cell(at: offset + 8 * word).pointee.load(ordering: .relaxed)
                    }
                    func sum(_ word: Int) -> UInt64 {
                        RenderedFamily.saturatingSum(family.carried[series * words + word], present(word))
                    }
                    func floatingPointSum() -> Double {
                        Double(bitPattern: family.carried[series * words]) + Double(bitPattern: present(0))
                    }
                    if family.definition.type == .histogram {
                        let sumOfValues = floatingPointSum()
                        var count: UInt64 = 0
                        for bucket in 1...bucketCount {
                            count = RenderedFamily.saturatingSum(count, sum(bucket))
                            writer.sample(prefix: prefixes.next(), count)
                        }
                        writer.sample(prefix: prefixes.next(), sumOfValues)
                        writer.sample(prefix: prefixes.next(), count)
                    } else if family.definition.isFloatingPoint {
                        writer.sample(prefix: prefixes.next(), floatingPointSum())
                    } else {
                        writer.sample(prefix: prefixes.next(), sum(0))
                    }
                }
            }
        }
    }

    private func write(_ family: RenderedFamily, of reader: ArenaReader, to writer: inout SampleWriter) {
        let mapping = reader.mapping
        let bucketCount = family.definition.bucketBounds.count + 1
        let isFloatingPoint = family.definition.isFloatingPoint
        family.text.withUnsafeBufferPointer { text in
            family.lineEnds.withUnsafeBufferPointer { lineEnds in
                var prefixes = LinePrefixes(text: text, ends: lineEnds)
                for offset in family.valueOffsets {
                    switch family.definition.type {
                    case .counter:
                        let word = mapping.cell(at: offset).pointee.load(ordering: .relaxed)
                        if isFloatingPoint {
                            writer.sample(prefix: prefixes.next(), Double(bitPattern: word))
                        } else {
                            writer.sample(prefix: prefixes.next(), word)
                        }
                    case .gauge, .info:
                        let prefix = prefixes.next()
                        guard let value = reader.gauge(at: offset, epoch: epoch) else { continue }
                        writer.sample(prefix: prefix, value)
                    case .histogram:
                        // The count is the last bucket by construction, whatever is observed meanwhile.
                        let sum = Double(bitPattern: mapping.cell(at: offset).pointee.load(ordering: .relaxed))
                        var count: UInt64 = 0
                        for bucket in 1...bucketCount {
                            count &+= mapping.cell(at: offset + 8 * bucket).pointee.load(ordering: .relaxed)
                            writer.sample(prefix: prefixes.next(), count)
                        }
                        writer.sample(prefix: prefixes.next(), sum)
                        writer.sample(prefix: prefixes.next(), count)
                    }
                }
            }
        }
    }
}

/// One scrape's view of families made at scrape time.
struct PreparedCollection: PreparedMetrics {
    let families: [FamilyDescriptor]
    private let collected: [CollectedFamily]

    init(_ collected: [CollectedFamily]) {
        self.collected =
            collected
            .filter { $0.descriptor.type != .histogram }
            .sorted { $0.descriptor.name < $1.descriptor.name }
        families = self.collected.map(\.descriptor)
    }

    func writeSamples(of index: Int, to writer: inout SampleWriter) {
        let family = collected[index]
        for sample in family.samples {
            writer.sample(family.descriptor.name, labels: sample.labels, value: sample.value)
        }
    }
}

/// One scrape's view of one source.
public protocol PreparedMetrics {
    /// The families, sorted by name.
    var families: [FamilyDescriptor] { get }

    /// Writes the samples of one family.
    ///
    /// - Parameters:
    ///   - index: The family's place in ``families``.
    ///   - writer: Where the samples go.
    func writeSamples(of index: Int, to writer: inout SampleWriter)
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
    ///
    /// - Parameter name: The family's name in the text format.
    func seriesCount(of name: String) -> Int
}
