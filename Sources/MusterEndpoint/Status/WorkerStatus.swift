// SPDX-License-Identifier: Apache-2.0

/// A worker's slot and the process in it.
public struct WorkerStatus: Codable, Hashable, Sendable {
    /// The launched service.
    public var group: String
    /// The number of the slot: the label `worker` of its metrics.
    public var slot: Int
    /// What it is doing.
    public var state: WorkerState
    /// Its process, when there is one. `cpuSeconds` counts the slot's former processes, too.
    public var process: ProcessStatus?
    /// The backend it runs; unknown until it has selected one.
    public var backend: String?
    /// Who chose the backend: `explicit`, `hook` or `default`.
    public var backendSource: String?
    /// How many processors it has used on average since the look before, 1 for one that was busy all the time; unknown
    /// at the first look.
    public var cpuCores: Double?
    /// Jobs alive.
    public var jobs: Int?
    /// Until when it is known to have made progress.
    public var heartbeatAt: Double?
    /// How long that is ago: 0 unless it is overdue with something, or has been at one thing.
    public var heartbeatAgeSeconds: Double?
    /// How many processes the slot has had.
    public var starts = 1
    /// How often the slot got a new process, by why the one before ended; without the reasons that there was nothing
    /// for.
    public var restarts: [String: Int] = [:]
    /// Why the slot's former process ended.
    public var lastRestartReason: String?
    /// When the slot's former process ended.
    public var lastRestartAt: Double?
    /// How long the next process is held back.
    public var backoffSeconds: Double?
    /// Whether its metrics can be read. Those of a worker that has damaged them stay as they were.
    public var isReadable = true

    /// Creates a description of a worker that has never been replaced.
    ///
    /// - Parameters:
    ///   - group: The launched service.
    ///   - slot: The number of the slot.
    ///   - state: What it is doing.
    public init(group: String, slot: Int, state: WorkerState) {
        self.group = group
        self.slot = slot
        self.state = state
    }

    /// How often the slot got a new process.
    public var restartCount: Int { restarts.values.reduce(0, +) }
}
