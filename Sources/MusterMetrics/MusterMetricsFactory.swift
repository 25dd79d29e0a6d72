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
package struct MusterMetricsFactory: MetricsFactory {
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
    package init(
        registry: MetricRegistry = .shared, timerBuckets: HistogramBuckets = .seconds,
        recorderBuckets: HistogramBuckets = .general, seriesLimit: Int = 1000
    ) {
        self.registry = registry
        self.timerBuckets = timerBuckets
        self.recorderBuckets = recorderBuckets
        self.seriesLimit = seriesLimit
    }

    /// Makes a counter's handler.
    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        SharedCounter(
            series(label, dimensions, .counter, refused: { CounterMetric(cell: $0, storage: $1) }) {
                name, help, labelNames throws(MetricError) in
                try registry.counterFamily(name, help: help, labelNames: labelNames, seriesLimit: seriesLimit)
            })
    }

    /// Makes a floating point counter's handler.
    package func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        SharedFloatingPointCounter(
            series(label, dimensions, .counter, refused: { FloatingPointCounterMetric(cell: $0, storage: $1) }) {
                name, help, labelNames throws(MetricError) in
                try registry.floatingPointCounterFamily(
                    name, help: help, labelNames: labelNames, seriesLimit: seriesLimit)
            })
    }

    /// Makes a meter's handler.
    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        SharedGauge(gauge(label, dimensions))
    }

    /// Makes a recorder's handler: a histogram when it aggregates, a gauge otherwise.
    package func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        guard aggregate else { return SharedGauge(gauge(label, dimensions)) }
        return SharedHistogram(histogram(label, dimensions, unit: nil, buckets: recorderBuckets))
    }

    /// Makes a timer's handler.
    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        SharedHistogram(histogram(label, dimensions, unit: .seconds, buckets: timerBuckets))
    }

    /// Keeps the total: a counter never falls.
    package func destroyCounter(_ handler: any CounterHandler) {}

    /// Keeps the total: a counter never falls.
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}

    /// Takes the gauge out of the exposition.
    package func destroyMeter(_ handler: any MeterHandler) {
        (handler as? SharedGauge)?.metric.clear()
    }

    /// Takes a gauge out of the exposition, keeps a histogram's totals.
    package func destroyRecorder(_ handler: any RecorderHandler) {
        (handler as? SharedGauge)?.metric.clear()
    }

    /// Keeps the totals: a histogram never falls.
    package func destroyTimer(_ handler: any TimerHandler) {}

    private func gauge(_ label: String, _ dimensions: [(String, String)]) -> GaugeMetric {
        series(label, dimensions, .gauge, refused: { GaugeMetric(cells: $0, storage: $1) }) {
            name, help, labelNames throws(MetricError) in
            try registry.gaugeFamily(name, help: help, labelNames: labelNames, seriesLimit: seriesLimit)
        }
    }

    private func histogram(
        _ label: String, _ dimensions: [(String, String)], unit: MetricUnit?, buckets: HistogramBuckets
    ) -> HistogramMetric {
        series(
            label, dimensions, .histogram, unit: unit,
            refused: { HistogramMetric(cells: $0, layout: buckets.layout, storage: $1) }
        ) { name, help, labelNames throws(MetricError) in
            try registry.histogramFamily(
                name, help: help, unit: unit, buckets: buckets, labelNames: labelNames, seriesLimit: seriesLimit)
        }
    }

    /// The series of a label and its dimensions; one that leads nowhere when it cannot be registered, because
    /// swift-metrics has no way to report an error.
    private func series<Metric>(
        _ label: String, _ dimensions: [(String, String)], _ type: MetricType, unit: MetricUnit? = nil,
        refused: MetricMaker<Metric>,
        register: (_ name: String, _ help: String, _ labelNames: [String]) throws(MetricError) -> MetricFamily<Metric>
    ) -> Metric {
        let name = MetricNameSanitizer.name(label, type: type, unit: unit)
        let labels = MetricNameSanitizer.labels(dimensions)
        // The label has no longest length; a help text has.
        let help =
            "Recorded through swift-metrics as \(label.unicodeScalars.count <= 512 ? label : "(a very long label)")."
        do throws(MetricError) {
            return try register(name, help, labels.map(\.name)).labels(labels.map(\.value))
        } catch {
            let storage = registry.storage
            storage.refuseSeries(of: name, because: error.description)
            return refused(storage.scratchCells(), storage)
        }
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

/// A counter of swift-metrics.
private final class SharedCounter: CounterHandler {
    private let metric: CounterMetric

    init(_ metric: CounterMetric) { self.metric = metric }

    func increment(by amount: Int64) { metric.increment(by: Int(amount)) }
    func reset() { metric.reset() }
}

/// A floating point counter of swift-metrics.
private final class SharedFloatingPointCounter: FloatingPointCounterHandler {
    private let metric: FloatingPointCounterMetric

    init(_ metric: FloatingPointCounterMetric) { self.metric = metric }

    func increment(by amount: Double) { metric.increment(by: amount) }
    func reset() { metric.reset() }
}

/// A meter, or a recorder that does not aggregate.
private final class SharedGauge: MeterHandler, RecorderHandler {
    let metric: GaugeMetric

    init(_ metric: GaugeMetric) { self.metric = metric }

    func set(_ value: Int64) { metric.set(Double(value)) }
    func set(_ value: Double) { metric.set(value) }
    func increment(by amount: Double) { metric.add(amount) }
    func decrement(by amount: Double) { metric.add(-amount) }
    func record(_ value: Int64) { metric.set(Double(value)) }
    func record(_ value: Double) { metric.set(value) }
}

/// A recorder that aggregates, or a timer. Prometheus wants seconds: a preferred display unit is not heeded.
private final class SharedHistogram: RecorderHandler, TimerHandler {
    private let metric: HistogramMetric

    init(_ metric: HistogramMetric) { self.metric = metric }

    func record(_ value: Int64) { metric.observe(Double(value)) }
    func record(_ value: Double) { metric.observe(value) }
    func recordNanoseconds(_ duration: Int64) { metric.observe(Double(duration) / 1e9) }
}

extension MetricRegistry {
    /// A factory for swift-metrics, so that every library that is instrumented with it is exported:
    /// `MetricsSystem.bootstrap(MetricRegistry.shared.metricsFactory())`.
    ///
    /// - Parameters:
    ///   - timerBuckets: The buckets of timers, in seconds.
    ///   - recorderBuckets: The buckets of recorders that aggregate.
    public func metricsFactory(
        timerBuckets: HistogramBuckets = .seconds, recorderBuckets: HistogramBuckets = .general
    ) -> any MetricsFactory {
        MusterMetricsFactory(registry: self, timerBuckets: timerBuckets, recorderBuckets: recorderBuckets)
    }
}
