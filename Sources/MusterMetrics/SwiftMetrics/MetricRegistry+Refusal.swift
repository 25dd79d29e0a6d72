// SPDX-License-Identifier: Apache-2.0

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
