// SPDX-License-Identifier: Apache-2.0

/// How it went in the last minutes: one value of each list per point, oldest first.
///
/// Nothing is sampled at an interval. A point is taken when somebody looks, at the page, `/status` or `/metrics`, and
/// the one before is at least ``StatusLimits/pointDistanceSeconds`` old. So whoever opens the page of a service that
/// Prometheus scrapes sees how it got there.
public struct StatusHistory: Codable, Hashable, Sendable {
    /// When the points were taken.
    public var at: [Double] = []
    /// How late 99 of 100 runs of all looping calls were at most since the point before; `nil` when there were none.
    public var latenessP99Seconds: [Double?] = []
    /// Threads of all workers.
    public var threads: [Int] = []
    /// How often workers have been replaced since the start.
    public var restarts: [Int] = []
    /// Workers that were ready.
    public var readyWorkers: [Int] = []

    /// No point yet.
    public init() {}
}
