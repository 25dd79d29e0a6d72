// SPDX-License-Identifier: Apache-2.0

/// Where an exposition gets metrics from.
public protocol MetricSource: Sendable {
    /// Fixes what this source has to say in one scrape. Called from any thread, also by several scrapes at once.
    func prepare() -> any PreparedMetrics
}
