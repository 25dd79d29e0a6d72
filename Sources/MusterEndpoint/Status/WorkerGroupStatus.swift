// SPDX-License-Identifier: Apache-2.0

/// A launched service.
public struct WorkerGroupStatus: Codable, Hashable, Sendable {
    /// The service's name: the label `worker_group` of its metrics.
    public var name: String
    /// How many workers it shall have.
    public var wantedWorkers: Int
    /// How many of them are ready.
    public var readyWorkers: Int
    /// How many warm spares wait for a slot.
    public var readySpares = 0
    /// How many warm spares are coming up.
    public var startingSpares = 0
    /// How often its workers were replaced.
    public var restarts = 0
    /// Whether that was too often in too short a time.
    public var restartsTooOften = false

    /// Creates a description of a service without spares and restarts.
    ///
    /// - Parameters:
    ///   - name: The service's name.
    ///   - wantedWorkers: How many workers it shall have.
    ///   - readyWorkers: How many of them are ready.
    public init(name: String, wantedWorkers: Int, readyWorkers: Int) {
        self.name = name
        self.wantedWorkers = wantedWorkers
        self.readyWorkers = readyWorkers
    }
}
