// SPDX-License-Identifier: Apache-2.0

import CoreMetrics

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
