// SPDX-License-Identifier: Apache-2.0

public import Logging
import MusterPlatform

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
