// SPDX-License-Identifier: Apache-2.0

public import MusterMetrics

/// What a ``StatusSource`` has found.
public struct StatusLook: Sendable {
    /// The service, without health, history and what follows from them.
    public var report: StatusReport
    /// Whether its end has begun.
    public var isStopping: Bool
    /// The lateness of all runs of all looping calls since the start; `nil` when there are none.
    public var lateness: HistogramSnapshot?

    /// Creates what was found.
    ///
    /// - Parameters:
    ///   - report: The service.
    ///   - isStopping: Whether its end has begun.
    ///   - lateness: The lateness of all runs of all looping calls.
    public init(report: StatusReport, isStopping: Bool = false, lateness: HistogramSnapshot? = nil) {
        self.report = report
        self.isStopping = isStopping
        self.lateness = lateness
    }
}
