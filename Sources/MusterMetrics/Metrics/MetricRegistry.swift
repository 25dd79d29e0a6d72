// SPDX-License-Identifier: Apache-2.0

package import Logging
import MusterLock
package import MusterPlatform
import Synchronization

/// Where metrics are registered: it gives out handles that write into an arena.
///
/// Registering the same metric again returns the same series. A metric that contradicts the rules of Prometheus or
/// a registered metric is refused with a ``MetricError``; what merely does not fit is dropped and counted, and its
/// handles lead nowhere.
public final class MetricRegistry: Sendable {
    let storage: MetricStorage
    /// Why its metrics cannot be exported; `nil` when they can, or nobody wants them.
    private let failure: ArenaError?

    package init(arena: ArenaWriter, logger: Logger = Logger(label: "muster.metrics").queued) {
        storage = MetricStorage(arena: arena, logger: logger)
        failure = nil
    }

    private init(failure: ArenaError) {
        storage = MetricStorage(arena: .privateArena(), logger: Logger(label: "muster.metrics").queued)
        self.failure = failure
    }

    /// Where the metrics are kept.
    package var arena: ArenaWriter { storage.arena }

    /// Reads what is kept there.
    ///
    /// - Throws: ``ArenaError``, as the arena's creation did where there is none.
    package func reader() throws(ArenaError) -> ArenaReader {
        if let failure { throw failure }
        return try ArenaReader(descriptor: arena.descriptor.rawValue)
    }

    /// Keeps exemplars of observations from now on that are made in a span of a trace.
    package func sampleExemplars() {
        storage.samplesExemplars.store(true, ordering: .relaxed)
    }

    // MARK: - Registries

    private static let sharedRegistry = Locked<MetricRegistry?>(nil)

    /// The registry of the process, made on first use: in a worker over the arena that its supervisor reads, else
    /// over an arena of its own.
    ///
    /// When that arena cannot be used, this is logged once and the metrics go nowhere.
    public static var shared: MetricRegistry {
        let (registry, failure): (MetricRegistry, StartFailure?) = sharedRegistry.withLock { shared in
            if let shared { return (shared, nil) }
            let made = start(InheritedArena())
            shared = made.registry
            return made
        }
        // Logged outside the lock, because the log handler may have metrics of its own.
        if let failure {
            Logger(label: "muster.metrics").queued.error(
                "metrics not exported: \(failure.remedy)", metadata: ["error": "\(failure.error)"])
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
                : "the inherited arena is unusable; replace this worker to give it a new one"
            return (MetricRegistry(failure: error), StartFailure(error: error, remedy: remedy))
        }
    }

    /// A registry whose metrics are not exported, for a program that runs without them.
    package static func discarding() -> MetricRegistry {
        MetricRegistry(arena: .privateArena())
    }

    /// Runs what registers several metrics, which costs less than each by itself. It must not wait for another process that
    /// has the same arena.
    package func registerTogether<Result, Failure: Error>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try storage.arena.registerTogether(body)
    }

    // MARK: - Counters

    /// Registers a counter.
    ///
    /// - Parameters:
    ///   - name: The name; it ends in `_total`.
    ///   - help: One sentence for people.
    ///   - unit: The unit, which stands in the name before `_total`.
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
    /// - Throws: ``MetricError`` that says what to change.
    public func counterFamily(
        _ name: String, help: String, unit: MetricUnit? = nil, labelNames: [String], seriesLimit: Int = 1000
    ) throws(MetricError) -> MetricFamily<CounterMetric> {
        MetricFamily(
            try register(
                FamilyDefinition(
                    name: name, type: .counter, isFloatingPoint: false, unit: unit, help: help,
                    labelNames: labelNames, buckets: nil), seriesLimit),
            { CounterMetric(cell: $0, storage: $1) })
    }

    /// Registers a counter of a quantity that has fractions.
    ///
    /// - Parameters:
    ///   - name: The name; it ends in `_total`.
    ///   - help: One sentence for people.
    ///   - unit: The unit, which stands in the name before `_total`.
    /// - Throws: ``MetricError`` that says what to change.
    package func floatingPointCounter(
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
    /// - Throws: ``MetricError`` that says what to change.
    package func floatingPointCounterFamily(
        _ name: String, help: String, unit: MetricUnit? = nil, labelNames: [String], seriesLimit: Int = 1000
    ) throws(MetricError) -> MetricFamily<FloatingPointCounterMetric> {
        MetricFamily(
            try register(
                FamilyDefinition(
                    name: name, type: .counter, isFloatingPoint: true, unit: unit, help: help,
                    labelNames: labelNames, buckets: nil), seriesLimit),
            { FloatingPointCounterMetric(cell: $0, storage: $1) })
    }

    // MARK: - Gauges

    /// Registers a gauge. It is exported from the first time it is set.
    ///
    /// - Throws: ``MetricError`` that says what to change.
    public func gauge(_ name: String, help: String, unit: MetricUnit? = nil) throws(MetricError) -> GaugeMetric {
        try gaugeFamily(name, help: help, unit: unit, labelNames: []).labels([])
    }

    /// Registers gauges told apart by labels.
    ///
    /// - Throws: ``MetricError`` that says what to change.
    public func gaugeFamily(
        _ name: String, help: String, unit: MetricUnit? = nil, labelNames: [String], seriesLimit: Int = 1000
    ) throws(MetricError) -> MetricFamily<GaugeMetric> {
        MetricFamily(
            try register(
                FamilyDefinition(
                    name: name, type: .gauge, isFloatingPoint: true, unit: unit, help: help, labelNames: labelNames,
                    buckets: nil), seriesLimit),
            { GaugeMetric(cells: $0, storage: $1) })
    }

    // MARK: - Histograms

    /// Registers a histogram.
    ///
    /// - Throws: ``MetricError`` that says what to change.
    public func histogram(
        _ name: String, help: String, unit: MetricUnit? = nil, buckets: HistogramBuckets = .seconds
    ) throws(MetricError) -> HistogramMetric {
        try histogramFamily(name, help: help, unit: unit, buckets: buckets, labelNames: []).labels([])
    }

    /// Registers histograms told apart by labels.
    ///
    /// - Throws: ``MetricError`` that says what to change.
    public func histogramFamily(
        _ name: String, help: String, unit: MetricUnit? = nil, buckets: HistogramBuckets = .seconds,
        labelNames: [String], seriesLimit: Int = 1000
    ) throws(MetricError) -> MetricFamily<HistogramMetric> {
        let layout = buckets.layout
        return MetricFamily(
            try register(
                FamilyDefinition(
                    name: name, type: .histogram, isFloatingPoint: true, unit: unit, help: help,
                    labelNames: labelNames, buckets: buckets), seriesLimit),
            { HistogramMetric(cells: $0, layout: layout, storage: $1) })
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
                help: help, labelNames: labels.map(\.name), buckets: nil), 1000)
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

/// Why a metric cannot be registered, and what to change.
public enum MetricError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The name breaks a rule.
    case invalidName(String, problem: String)
    /// A label's name breaks a rule.
    case invalidLabelName(String, metric: String, problem: String)
    /// The unit breaks a rule.
    case invalidUnit(String, metric: String, problem: String)
    /// The help text breaks a rule.
    case invalidHelp(metric: String, problem: String)
    /// The bucket bounds break a rule.
    case invalidBuckets(String)
    /// A label's value breaks a rule.
    case invalidLabelValue(metric: String, problem: String)
    /// The name is taken by a family that differs.
    case clash(name: String, difference: String)

    /// What is wrong and how to put it right.
    public var description: String {
        switch self {
        case .invalidName(let name, let problem):
            "metric \"\(name)\": \(problem)"
        case .invalidLabelName(let name, let metric, let problem):
            "metric \"\(metric)\": label \"\(name)\": \(problem)"
        case .invalidUnit(let unit, let metric, let problem):
            "metric \"\(metric)\": unit \"\(unit)\": \(problem)"
        case .invalidHelp(let metric, let problem):
            "metric \"\(metric)\": help text: \(problem)"
        case .invalidBuckets(let problem):
            "histogram buckets: \(problem)"
        case .invalidLabelValue(let metric, let problem):
            "metric \"\(metric)\": label value: \(problem)"
        case .clash(let name, let difference):
            "metric \"\(name)\" is already registered: \(difference); rename one of the two, "
                + "or register both alike"
        }
    }
}

/// A metric's unit: the suffix of its name (before `_total`) and the text behind `# UNIT` in OpenMetrics.
///
/// Prometheus wants base units: seconds rather than milliseconds, ratios from 0 to 1 rather than percentages.
/// Things that are counted (requests, connections) have no unit.
public struct MetricUnit: Hashable, Sendable {
    /// The unit as it stands in names, in the plural.
    package var name: String

    /// Makes a unit.
    ///
    /// - Parameter name: Lower-case letters, digits and underscores; checked when a metric is registered.
    public init(_ name: String) {
        self.name = name
    }

    /// Time in seconds.
    public static let seconds = MetricUnit("seconds")
    /// Sizes in bytes.
    public static let bytes = MetricUnit("bytes")
    /// Shares from 0 to 1.
    public static let ratio = MetricUnit("ratio")
    /// Temperatures in degrees Celsius.
    package static let celsius = MetricUnit("celsius")
    /// Lengths in meters.
    package static let meters = MetricUnit("meters")
    /// Electric tension in volts.
    package static let volts = MetricUnit("volts")
    /// Electric current in amperes.
    package static let amperes = MetricUnit("amperes")
    /// Energy in joules.
    package static let joules = MetricUnit("joules")
    /// Mass in grams.
    package static let grams = MetricUnit("grams")
}

/// Finds the cells of a family's series, or scratch cells for a series that is refused.
struct SeriesResolver: Sendable {
    let storage: MetricStorage
    let definition: FamilyDefinition
    /// The family's number in the arena; `nil` when the arena had no room for it.
    let family: Int?
    let seriesLimit: Int

    func cells(_ labelValues: [String]) -> UnsafeMutablePointer<Atomic<UInt64>> {
        guard labelValues.count == definition.labelNames.count else {
            return refuse("\(labelValues.count) label values given for the labels \(definition.labelNames)")
        }
        for value in labelValues where value.utf8.count > ArenaLayout.maximumLabelValueBytes {
            return refuse("a label value is longer than \(ArenaLayout.maximumLabelValueBytes) bytes")
        }
        guard let family else { return refuse(Self.fullText) }
        switch storage.arena.series(family: family, labelValues: labelValues, limit: seriesLimit) {
        case .values(let offset): return storage.cells(at: offset)
        case .full: return refuse(Self.fullText)
        case .overLimit:
            return refuse(
                "the family has its limit of \(seriesLimit) series; raise seriesLimit or use labels of fewer values")
        }
    }

    static let fullText = """
        the metric arena is full or damaged; raise muster.arena-capacity of supervised workers, or use labels of fewer \
        values
        """

    private func refuse(_ reason: String) -> UnsafeMutablePointer<Atomic<UInt64>> {
        storage.refuseSeries(of: definition.name, because: reason)
        return storage.scratchCells()
    }
}

extension LogQueue {
    /// Counts dropped messages in a registry from now on.
    package func countDropped(in registry: MetricRegistry) throws(MetricError) {
        let dropped = try registry.counter(
            "muster_log_lines_dropped_total",
            help: "Log messages of the runtime that were dropped, as nobody read the log or it could not be written.")
        countDropped { dropped.increment(by: $0) }
    }
}
