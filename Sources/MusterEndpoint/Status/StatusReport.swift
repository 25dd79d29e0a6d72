// SPDX-License-Identifier: Apache-2.0

/// What the status page and `/status` tell: a service at one moment, as far as its endpoint knows it.
///
/// In the JSON, and so in these types, keys that end in `At` are instants in seconds since 1970-01-01 00:00 UTC, keys
/// that end in `Seconds` or `Bytes` are amounts, and what is not known is left out. `docs/status.schema.json` describes
/// each key.
public struct StatusReport: Codable, Hashable, Sendable {
    /// The version of the JSON that this Muster writes.
    public static let currentSchemaVersion = 1

    /// The version of the JSON. It rises when a key changes its meaning or vanishes, or a word is added to those that a
    /// key can be; a new key does not raise it.
    public var schemaVersion = Self.currentSchemaVersion
    /// When the report was made.
    public var at: Double
    /// What is launched: the names of its services.
    public var name: String
    /// How it is doing, in one word.
    public var state = ServiceState.ready
    /// Who answers.
    public var mode: StatusMode
    /// What was built.
    public var version: VersionStatus
    /// The process that answers: the supervisor, or the program that is all there is.
    public var process: ProcessStatus
    /// Whether a rolling reload is under way.
    public var isReloading = false
    /// The backends that workers run, and why.
    public var backends: [BackendStatus] = []
    /// The health checks.
    public var health = HealthStatus()
    /// The launched services.
    public var groups: [WorkerGroupStatus] = []
    /// The workers by group and slot.
    public var workers: [WorkerStatus] = []
    /// The looping calls by group, name and backend, each over all workers of its group that run the backend.
    public var loops: [LoopStatus] = []
    /// What there was no room for.
    public var omitted = OmittedStatus()
    /// How it went in the last minutes.
    public var history = StatusHistory()

    /// Creates a report without workers, loops and checks.
    ///
    /// - Parameters:
    ///   - at: When it was made, in seconds since 1970-01-01 00:00 UTC.
    ///   - name: What is launched.
    ///   - mode: Who answers.
    ///   - version: What was built.
    ///   - process: The process that answers.
    public init(at: Double, name: String, mode: StatusMode, version: VersionStatus, process: ProcessStatus) {
        self.at = at
        self.name = name
        self.mode = mode
        self.version = version
        self.process = process
    }
}
