// SPDX-License-Identifier: Apache-2.0

import CoreMetrics

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
