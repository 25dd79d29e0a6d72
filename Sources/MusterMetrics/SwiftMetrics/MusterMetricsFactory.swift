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
