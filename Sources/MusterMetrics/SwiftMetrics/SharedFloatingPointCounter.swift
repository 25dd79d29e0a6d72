// SPDX-License-Identifier: Apache-2.0

import CoreMetrics

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
