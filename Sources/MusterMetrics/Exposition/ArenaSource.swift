// SPDX-License-Identifier: Apache-2.0

package import Logging
import MusterLock
import MusterPlatform
import Synchronization

/// Exposes an arena's series, each with constant labels that say whose arena it is.
///
/// The text in front of each value is rendered once, when the series first appears; a scrape loads the values and
/// writes numbers. A label of the arena that bears the name of a constant label is shown as `exported_NAME`.
package final class ArenaSource: MetricSource {
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
        var needsLabels = false
    }

    /// Creates a source.
    ///
    /// - Parameters:
    ///   - reader: The arena.
    ///   - constantLabels: Labels of every sample, for example the worker's slot.
    ///   - logger: Where a damaged arena is reported.
    package convenience init(
        reader: ArenaReader, constantLabels: [(name: String, value: String)],
        logger: Logger = Logger(label: "muster.metrics").queued
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
                    "constant label left out", metadata: ["label": "\(label.name)", "reason": "\(problem)"])
            } else if !sound.contains(where: { $0.name == label.name }) {
                sound.append(label)
            }
        }
        return sound
    }

    /// Reads new series and fixes the arena's epoch for one scrape.
    package func prepare(for format: ExpositionFormat) -> any PreparedMetrics {
        let (cache, damage, isOverLimit): (Cache, ArenaError?, Bool) = cache.withLock { cache in
            if format == .protobuf { cache.needsLabels = true }
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
                "metric arena damaged; series registered from now on are missing",
                metadata: ["error": "\(damage)", "pid": "\(reader.writerPid)"])
        }
        if isOverLimit {
            logger.error(
                "metric labels have too much text; later series are missing: use shorter label values or fewer buckets",
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
        if cache.needsLabels {
            for position in cache.families.indices { cache.families[position].encodeLabels() }
        }
        if cache.families.count != known { Self.sort(&cache) }
    }

    private static func sort(_ cache: inout Cache) {
        (cache.descriptors, cache.slots) = PreparedArena.order(cache.families)
    }
}

/// One scrape's view of an arena.
struct PreparedArena: PreparedMetrics {
    /// What a place in `families` shows.
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
        help: "Series dropped because the arena was full or their family had reached its limit.")
    private static let droppedUpdatesFamily = FamilyDescriptor(
        name: droppedUpdatesName, type: .counter,
        help: "Updates dropped: decrements of counters and values that are not finite.")

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
            let total = (reader?.droppedSeries ?? 0).saturatingSum(droppedSeries)
            writer.sample(families[index].name, labels: constantLabels, value: Double(total))
        case .droppedUpdates:
            let total = (reader?.droppedUpdates ?? 0).saturatingSum(droppedUpdates)
            writer.sample(families[index].name, labels: constantLabels, value: Double(total))
        case .family(let position):
            write(rendered[position], to: &writer)
        }
    }

    private func write(_ family: RenderedFamily, to writer: inout SampleWriter) {
        guard !family.valueOffsets.isEmpty else { return }
        var decoder = SeriesDecoder(
            family.definition, in: reader?.mapping, epoch: epoch, carried: family.carried)
        if writer.format == .openMetrics { decoder.exemplars = reader?.exemplars }
        if writer.format == .protobuf { return writeMessages(of: family, decoder, to: &writer) }
        family.text.withUnsafeBufferPointer { text in
            family.lineEnds.withUnsafeBufferPointer { lineEnds in
                var prefixes = LinePrefixes(text: text, ends: lineEnds)
                for (series, offset) in family.valueOffsets.enumerated() {
                    decoder.write(series, at: offset, &prefixes, to: &writer)
                }
            }
        }
    }

    private func writeMessages(of family: RenderedFamily, _ decoder: SeriesDecoder, to writer: inout SampleWriter) {
        family.labels.withUnsafeBufferPointer { labels in
            var start = 0
            for (series, offset) in family.valueOffsets.enumerated() {
                let end = family.labelEnds[series]
                decoder.write(
                    series, at: offset, labels: UnsafeBufferPointer(rebasing: labels[start..<end]), to: &writer)
                start = end
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
package protocol PreparedMetrics {
    /// The families, sorted by name.
    var families: [FamilyDescriptor] { get }

    /// Writes the samples of one family.
    ///
    /// - Parameters:
    ///   - index: The family's place in ``families``.
    ///   - writer: Where the samples go.
    func writeSamples(of index: Int, to writer: inout SampleWriter)
}
