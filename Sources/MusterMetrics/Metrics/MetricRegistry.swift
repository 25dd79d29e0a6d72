// SPDX-License-Identifier: Apache-2.0

public import Logging
import MusterPlatform

/// Where metrics are registered: it gives out handles that write into an arena.
///
/// Registering the same metric again returns the same series. A metric that contradicts the rules of Prometheus or
/// a registered metric is refused with a ``MetricError``; what merely does not fit is dropped and counted, and its
/// handles lead nowhere.
public final class MetricRegistry: Sendable {
    let storage: MetricStorage

    /// Creates a registry over an arena.
    ///
    /// - Parameters:
    ///   - arena: Where the metrics are kept.
    ///   - logger: Where refused series and updates are reported.
    public init(arena: ArenaWriter, logger: Logger = Logger(label: "muster.metrics")) {
        storage = MetricStorage(arena: arena, logger: logger)
    }

    /// Where the metrics are kept.
    public var arena: ArenaWriter { storage.arena }

    // MARK: - Registries

    private static let sharedRegistry = Locked<MetricRegistry?>(nil)

    /// The registry of the process, made on first use unless ``bootstrapShared(_:)`` came before: in a worker over the
    /// arena that its supervisor reads, else over an arena of its own.
    ///
    /// When that arena cannot be used, this is logged once and the metrics go nowhere.
    public static var shared: MetricRegistry {
        let (registry, failure): (MetricRegistry, StartFailure?) = sharedRegistry.withLock { shared in
            if let shared { return (shared, nil) }
            let made = start(InheritedArena())
            shared = made.registry
            return made
        }
        // Said outside the lock, because the log's handler may have metrics of its own.
        if let failure {
            Logger(label: "muster.metrics").error(
                "metrics are not exported: \(failure.remedy)", metadata: ["error": "\(failure.error)"])
        }
        return registry
    }

    /// Why a process goes without metrics.
    struct StartFailure: Sendable {
        let error: ArenaError
        let remedy: String
    }

    /// Makes the registry of a process over the arena it inherited or, without one, over an arena of its own.
    static func start(_ inherited: InheritedArena?) -> (registry: MetricRegistry, failure: StartFailure?) {
        do throws(ArenaError) {
            guard let inherited else {
                return (MetricRegistry(arena: try .create(name: "muster-metrics")), nil)
            }
            return (MetricRegistry(arena: try inherited.attach()), nil)
        } catch {
            let remedy =
                inherited == nil
                ? "allow memfd_create(2) and mmap(2)"
                : "the arena from the supervisor cannot be used; replace this worker, it gets another arena then"
            return (discarding(), StartFailure(error: error, remedy: remedy))
        }
    }

    /// Makes a registry the one of the process.
    ///
    /// - Parameter registry: The registry, usually over an arena that the process inherited.
    /// - Returns: `false` when ``shared`` was used before: the registry made then stays.
    public static func bootstrapShared(_ registry: MetricRegistry) -> Bool {
        sharedRegistry.withLock { shared in
            guard shared == nil else { return false }
            shared = registry
            return true
        }
    }

    /// A registry whose metrics nobody sees, for a program that goes on without them.
    public static func discarding() -> MetricRegistry {
        MetricRegistry(arena: .privateArena())
    }

    // MARK: - Counters

    /// Registers a counter.
    ///
    /// - Parameters:
    ///   - name: The name; it ends in `_total`.
    ///   - help: One sentence for people.
    ///   - unit: The unit, which stands in the name before `_total`.
    /// - Returns: The counter.
    /// - Throws: ``MetricError`` that says what to change.
    public func counter(
        _ name: String, help: String, unit: MetricUnit? = nil
    ) throws(MetricError) -> CounterMetric {
        try counterFamily(name, help: help, unit: unit, labelNames: []).labels([])
    }

    /// Registers counters told apart by labels.
    ///
    /// - Parameters:
    ///   - name: The name; it ends in `_total`.
    ///   - help: One sentence for people.
    ///   - unit: The unit, which stands in the name before `_total`.
    ///   - labelNames: The names of the labels.
    ///   - seriesLimit: How many series the family may have.
    /// - Returns: The family.
    /// - Throws: ``MetricError`` that says what to change.
    public func counterFamily(
        _ name: String, help: String, unit: MetricUnit? = nil, labelNames: [String], seriesLimit: Int = 1000
    ) throws(MetricError) -> CounterFamily {
        CounterFamily(
            resolver: try register(
                FamilyDefinition(
                    name: name, type: .counter, isFloatingPoint: false, unit: unit, help: help,
                    labelNames: labelNames, bucketBounds: []), seriesLimit))
    }

    /// Registers a counter of a quantity that has fractions.
    ///
    /// - Parameters:
    ///   - name: The name; it ends in `_total`.
    ///   - help: One sentence for people.
    ///   - unit: The unit, which stands in the name before `_total`.
    /// - Returns: The counter.
    /// - Throws: ``MetricError`` that says what to change.
    public func floatingPointCounter(
        _ name: String, help: String, unit: MetricUnit? = nil
    ) throws(MetricError) -> FloatingPointCounterMetric {
        try floatingPointCounterFamily(name, help: help, unit: unit, labelNames: []).labels([])
    }

    /// Registers counters of a quantity that has fractions, told apart by labels.
    ///
    /// - Parameters:
    ///   - name: The name; it ends in `_total`.
    ///   - help: One sentence for people.
    ///   - unit: The unit, which stands in the name before `_total`.
    ///   - labelNames: The names of the labels.
    ///   - seriesLimit: How many series the family may have.
    /// - Returns: The family.
    /// - Throws: ``MetricError`` that says what to change.
    public func floatingPointCounterFamily(
        _ name: String, help: String, unit: MetricUnit? = nil, labelNames: [String], seriesLimit: Int = 1000
    ) throws(MetricError) -> FloatingPointCounterFamily {
        FloatingPointCounterFamily(
            resolver: try register(
                FamilyDefinition(
                    name: name, type: .counter, isFloatingPoint: true, unit: unit, help: help,
                    labelNames: labelNames, bucketBounds: []), seriesLimit))
    }

    // MARK: - Gauges

    /// Registers a gauge. It is exported from the first time it is set.
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - help: One sentence for people.
    ///   - unit: The unit, which ends the name.
    /// - Returns: The gauge.
    /// - Throws: ``MetricError`` that says what to change.
    public func gauge(_ name: String, help: String, unit: MetricUnit? = nil) throws(MetricError) -> GaugeMetric {
        try gaugeFamily(name, help: help, unit: unit, labelNames: []).labels([])
    }

    /// Registers gauges told apart by labels.
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - help: One sentence for people.
    ///   - unit: The unit, which ends the name.
    ///   - labelNames: The names of the labels.
    ///   - seriesLimit: How many series the family may have.
    /// - Returns: The family.
    /// - Throws: ``MetricError`` that says what to change.
    public func gaugeFamily(
        _ name: String, help: String, unit: MetricUnit? = nil, labelNames: [String], seriesLimit: Int = 1000
    ) throws(MetricError) -> GaugeFamily {
        GaugeFamily(
            resolver: try register(
                FamilyDefinition(
                    name: name, type: .gauge, isFloatingPoint: true, unit: unit, help: help, labelNames: labelNames,
                    bucketBounds: []), seriesLimit))
    }

    // MARK: - Histograms

    /// Registers a histogram.
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - help: One sentence for people.
    ///   - unit: The unit, which ends the name.
    ///   - buckets: The bounds of the buckets.
    /// - Returns: The histogram.
    /// - Throws: ``MetricError`` that says what to change.
    public func histogram(
        _ name: String, help: String, unit: MetricUnit? = nil, buckets: HistogramBuckets = .seconds
    ) throws(MetricError) -> HistogramMetric {
        try histogramFamily(name, help: help, unit: unit, buckets: buckets, labelNames: []).labels([])
    }

    /// Registers histograms told apart by labels.
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - help: One sentence for people.
    ///   - unit: The unit, which ends the name.
    ///   - buckets: The bounds of the buckets.
    ///   - labelNames: The names of the labels.
    ///   - seriesLimit: How many series the family may have.
    /// - Returns: The family.
    /// - Throws: ``MetricError`` that says what to change.
    public func histogramFamily(
        _ name: String, help: String, unit: MetricUnit? = nil, buckets: HistogramBuckets = .seconds,
        labelNames: [String], seriesLimit: Int = 1000
    ) throws(MetricError) -> HistogramFamily {
        HistogramFamily(
            resolver: try register(
                FamilyDefinition(
                    name: name, type: .histogram, isFloatingPoint: true, unit: unit, help: help,
                    labelNames: labelNames, bucketBounds: buckets.bounds), seriesLimit),
            bounds: BucketBounds(buckets.bounds))
    }

    // MARK: - Information

    /// Exports text: a series of the constant value 1 with the text in its labels.
    ///
    /// - Parameters:
    ///   - name: The name, with or without its ending `_info`.
    ///   - help: One sentence for people.
    ///   - labels: The text. Another set of values adds a series; one of an earlier process vanishes.
    /// - Throws: ``MetricError`` that says what to change.
    public func info(
        _ name: String, help: String, labels: [(name: String, value: String)]
    ) throws(MetricError) {
        for label in labels where label.value.utf8.count > ArenaLayout.maximumLabelValueBytes {
            throw .invalidLabelValue(
                metric: name,
                problem: "\(label.name) has \(label.value.utf8.count) bytes; "
                    + "at most \(ArenaLayout.maximumLabelValueBytes) fit")
        }
        let resolver = try register(
            FamilyDefinition(
                name: name.hasSuffix("_info") ? name : name + "_info", type: .info, isFloatingPoint: true, unit: nil,
                help: help, labelNames: labels.map(\.name), bucketBounds: []), 1000)
        GaugeMetric(cells: resolver.cells(labels.map(\.value)), storage: storage).set(1)
    }

    // MARK: - Common

    private func register(
        _ definition: FamilyDefinition, _ seriesLimit: Int
    ) throws(MetricError) -> SeriesResolver {
        try definition.validate()
        let family: Int?
        switch storage.arena.register(definition) {
        case .family(let identifier): family = identifier
        case .full: family = nil
        case .clash(let known):
            throw .clash(name: definition.name, difference: definition.difference(to: known) ?? "it differs")
        }
        return SeriesResolver(storage: storage, definition: definition, family: family, seriesLimit: seriesLimit)
    }
}
