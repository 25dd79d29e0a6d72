// SPDX-License-Identifier: Apache-2.0

import CoreMetrics

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
