// SPDX-License-Identifier: Apache-2.0

public import CoreMetrics

/// A backend for swift-metrics: what libraries record through it lands in the arena of a ``MetricRegistry``.
///
/// | swift-metrics | exposed as |
/// | --- | --- |
/// | `Counter`, `FloatingPointCounter` | counter, `_total` appended |
/// | `Meter`, `Gauge` (a recorder that does not aggregate) | gauge |
/// | `Recorder` (aggregating) | histogram |
/// | `Timer` | histogram in seconds, `_seconds` appended |
///
/// Labels become names that Prometheus accepts (`http.requests-seen` becomes `http_requests_seen_total`), and
/// dimensions become labels sorted by name. Two metrics that come to the same name share it when they are of the
/// same kind and have the same dimensions; the later one is logged once and goes nowhere otherwise. Destroying a
/// handler keeps a total and takes a gauge out of the exposition.
public struct MusterMetricsFactory: MetricsFactory {
    private let registry: MetricRegistry
    private let timerBuckets: HistogramBuckets
    private let recorderBuckets: HistogramBuckets
    private let seriesLimit: Int

    /// Creates the backend.
    ///
    /// - Parameters:
    ///   - registry: Where the metrics are registered.
    ///   - timerBuckets: The bounds for timers, in seconds.
    ///   - recorderBuckets: The bounds for aggregating recorders.
    ///   - seriesLimit: How many series one metric may have.
    public init(
        registry: MetricRegistry = .shared, timerBuckets: HistogramBuckets = .seconds,
        recorderBuckets: HistogramBuckets = .general, seriesLimit: Int = 1000
    ) {
        self.registry = registry
        self.timerBuckets = timerBuckets
        self.recorderBuckets = recorderBuckets
        self.seriesLimit = seriesLimit
    }

    /// Makes a counter's handler.
    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        let (name, labels) = names(label, dimensions, .counter)
        do throws(MetricError) {
            let family = try registry.counterFamily(
                name, help: help(label), labelNames: labels.map(\.name), seriesLimit: seriesLimit)
            return SharedCounter(family.labels(labels.map(\.value)))
        } catch {
            return SharedCounter(registry.refusedCounter(name, error))
        }
    }

    /// Makes a floating point counter's handler.
    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        let (name, labels) = names(label, dimensions, .counter)
        do throws(MetricError) {
            let family = try registry.floatingPointCounterFamily(
                name, help: help(label), labelNames: labels.map(\.name), seriesLimit: seriesLimit)
            return SharedFloatingPointCounter(family.labels(labels.map(\.value)))
        } catch {
            return SharedFloatingPointCounter(registry.refusedFloatingPointCounter(name, error))
        }
    }

    /// Makes a meter's handler.
    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        SharedGauge(gauge(label, dimensions))
    }

    /// Makes a recorder's handler: a histogram when it aggregates, a gauge otherwise.
    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        guard aggregate else { return SharedGauge(gauge(label, dimensions)) }
        return SharedHistogram(histogram(label, dimensions, unit: nil, buckets: recorderBuckets))
    }

    /// Makes a timer's handler.
    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        SharedTimer(histogram(label, dimensions, unit: .seconds, buckets: timerBuckets))
    }

    /// Keeps the total: a counter never falls.
    public func destroyCounter(_ handler: any CounterHandler) {}

    /// Keeps the total: a counter never falls.
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}

    /// Takes the gauge out of the exposition.
    public func destroyMeter(_ handler: any MeterHandler) {
        (handler as? SharedGauge)?.clear()
    }

    /// Takes a gauge out of the exposition, keeps a histogram's totals.
    public func destroyRecorder(_ handler: any RecorderHandler) {
        (handler as? SharedGauge)?.clear()
    }

    /// Keeps the totals: a histogram never falls.
    public func destroyTimer(_ handler: any TimerHandler) {}

    private func gauge(_ label: String, _ dimensions: [(String, String)]) -> GaugeMetric {
        let (name, labels) = names(label, dimensions, .gauge)
        do throws(MetricError) {
            let family = try registry.gaugeFamily(
                name, help: help(label), labelNames: labels.map(\.name), seriesLimit: seriesLimit)
            return family.labels(labels.map(\.value))
        } catch {
            return registry.refusedGauge(name, error)
        }
    }

    private func histogram(
        _ label: String, _ dimensions: [(String, String)], unit: MetricUnit?, buckets: HistogramBuckets
    ) -> HistogramMetric {
        let (name, labels) = names(label, dimensions, .histogram, unit)
        do throws(MetricError) {
            let family = try registry.histogramFamily(
                name, help: help(label), unit: unit, buckets: buckets, labelNames: labels.map(\.name),
                seriesLimit: seriesLimit)
            return family.labels(labels.map(\.value))
        } catch {
            return registry.refusedHistogram(name, error)
        }
    }

    private func names(
        _ label: String, _ dimensions: [(String, String)], _ type: MetricType, _ unit: MetricUnit? = nil
    ) -> (name: String, labels: [(name: String, value: String)]) {
        (MetricNameSanitizer.name(label, type: type, unit: unit), MetricNameSanitizer.labels(dimensions))
    }

    private func help(_ label: String) -> String {
        // The label may be as long as its author liked; a help text has an end.
        "Recorded through swift-metrics as \(label.unicodeScalars.count <= 512 ? label : "(a very long label)")."
    }
}

/// Turns the free labels of swift-metrics into names that Prometheus accepts.
enum MetricNameSanitizer {
    /// A metric's name: what is no letter, digit or underscore becomes an underscore; a reserved ending is
    /// followed by `_value`; then come the unit and the ending that the type demands.
    static func name(_ label: String, type: MetricType, unit: MetricUnit? = nil) -> String {
        let suffix = type == .counter ? "_total" : type == .info ? "_info" : ""
        var name = identifier(label, fallback: "unnamed")
        if !suffix.isEmpty { name = FamilyDescriptor.baseName(of: name, type: type) }
        if let unit, !name.hasSuffix("_" + unit.name) { name += "_" + unit.name }
        // Endings may be stacked; nothing is left of a name that consists of one.
        if MetricGrammar.reservedSuffix(of: name) != nil { name += "_value" }
        return name + suffix
    }

    /// The labels, sorted by name so that the order in which they were given does not matter.
    static func labels(_ dimensions: [(String, String)]) -> [(name: String, value: String)] {
        var labels: [(name: String, value: String)] = []
        for (key, value) in dimensions.sorted(by: { $0 < $1 }) {
            var name = identifier(key, fallback: "label")
            while name.hasPrefix("__") { name.removeFirst() }
            if name == "le" || name == "quantile" { name = "exported_" + name }
            var candidate = name
            var number = 2
            while labels.contains(where: { $0.name == candidate }) {
                candidate = "\(name)_\(number)"
                number += 1
            }
            labels.append((candidate, value))
        }
        return labels.sorted { $0.name < $1.name }
    }

    private static func identifier(_ text: String, fallback: String) -> String {
        var bytes: [UInt8] = []
        for scalar in text.unicodeScalars {
            let isAllowed = scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
            bytes.append(isAllowed ? UInt8(truncatingIfNeeded: scalar.value) : UInt8(ascii: "_"))
        }
        if bytes.isEmpty { return fallback }
        if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[0]) { bytes.insert(UInt8(ascii: "_"), at: 0) }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Handles that lead nowhere, for callers that cannot be told about an error.
extension MetricRegistry {
    func refusedCounter(_ name: String, _ error: MetricError) -> CounterMetric {
        refuse(name, error)
        return CounterMetric(cell: storage.scratchCells(), storage: storage)
    }

    func refusedFloatingPointCounter(_ name: String, _ error: MetricError) -> FloatingPointCounterMetric {
        refuse(name, error)
        return FloatingPointCounterMetric(cell: storage.scratchCells(), storage: storage)
    }

    func refusedGauge(_ name: String, _ error: MetricError) -> GaugeMetric {
        refuse(name, error)
        return GaugeMetric(cells: storage.scratchCells(), storage: storage)
    }

    func refusedHistogram(_ name: String, _ error: MetricError) -> HistogramMetric {
        refuse(name, error)
        return HistogramMetric(
            cells: storage.scratchCells(), bounds: BucketBounds(HistogramBuckets.seconds.bounds), storage: storage)
    }

    private func refuse(_ name: String, _ error: MetricError) {
        storage.refuseSeries(of: name, because: error.description)
    }
}

/// A counter of swift-metrics.
final class SharedCounter: CounterHandler {
    private let metric: CounterMetric

    init(_ metric: CounterMetric) {
        self.metric = metric
    }

    func increment(by amount: Int64) {
        metric.increment(by: Int(amount))
    }

    func reset() {
        metric.reset()
    }
}

/// A floating point counter of swift-metrics.
final class SharedFloatingPointCounter: FloatingPointCounterHandler {
    private let metric: FloatingPointCounterMetric

    init(_ metric: FloatingPointCounterMetric) {
        self.metric = metric
    }

    func increment(by amount: Double) {
        metric.increment(by: amount)
    }

    func reset() {
        metric.reset()
    }
}

/// A meter or a recorder that does not aggregate.
final class SharedGauge: MeterHandler, RecorderHandler {
    private let metric: GaugeMetric

    init(_ metric: GaugeMetric) {
        self.metric = metric
    }

    func set(_ value: Int64) {
        metric.set(Double(value))
    }

    func set(_ value: Double) {
        metric.set(value)
    }

    func increment(by amount: Double) {
        metric.add(amount)
    }

    func decrement(by amount: Double) {
        metric.add(-amount)
    }

    func record(_ value: Int64) {
        metric.set(Double(value))
    }

    func record(_ value: Double) {
        metric.set(value)
    }

    func clear() {
        metric.clear()
    }
}

/// A recorder that aggregates.
final class SharedHistogram: RecorderHandler {
    private let metric: HistogramMetric

    init(_ metric: HistogramMetric) {
        self.metric = metric
    }

    func record(_ value: Int64) {
        metric.observe(Double(value))
    }

    func record(_ value: Double) {
        metric.observe(value)
    }
}

/// A timer; Prometheus wants seconds, so that a preferred display unit is not heeded.
final class SharedTimer: TimerHandler {
    private let metric: HistogramMetric

    init(_ metric: HistogramMetric) {
        self.metric = metric
    }

    func recordNanoseconds(_ duration: Int64) {
        metric.observe(Double(duration) / 1e9)
    }
}
