// SPDX-License-Identifier: Apache-2.0

import CoreMetrics

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
