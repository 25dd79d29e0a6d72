// SPDX-License-Identifier: Apache-2.0

/// A looping call, over all workers of a group that run the same backend.
public struct LoopStatus: Codable, Hashable, Sendable {
    /// The launched service.
    public var group: String
    /// The loop's name.
    public var name: String
    /// The backend that it runs on.
    public var backend: String
    /// In how many workers it has run.
    public var workers = 0
    /// The time between two scheduled starts, where it is fixed; the longest one where workers differ.
    public var intervalSeconds: Double?
    /// Runs begun.
    public var runs: UInt64 = 0
    /// Runs that ended with an error.
    public var failures: UInt64 = 0
    /// Runs that lasted beyond the next scheduled start.
    public var overruns: UInt64 = 0
    /// Runs left out because the one before lasted too long or the loop woke too late.
    public var skipped: UInt64 = 0
    /// How late half of all runs were at most, estimated from the histogram as Prometheus does.
    public var latenessP50Seconds: Double?
    /// How late 99 of 100 runs were at most, estimated from the histogram as Prometheus does.
    public var latenessP99Seconds: Double?
    /// How far the schedule has slipped from its ideal grid; of several workers the one that has slipped the most.
    public var driftSeconds: Double?
    /// When the last run began in any worker.
    public var lastRunAt: Double?
    /// When the next run is due in any worker.
    public var nextRunAt: Double?

    /// Creates a description of a loop that has never run.
    ///
    /// - Parameters:
    ///   - group: The launched service.
    ///   - name: The loop's name.
    ///   - backend: The backend that it runs on.
    public init(group: String, name: String, backend: String) {
        self.group = group
        self.name = name
        self.backend = backend
    }
}
