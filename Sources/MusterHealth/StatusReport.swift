// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Glibc
public import MusterMetrics
import MusterPlatform

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

/// Who answers for a service.
public enum StatusMode: String, Codable, CaseIterable, Hashable, Sendable {
    /// A supervisor of worker processes.
    case supervisor
    /// The one process that runs everything; it is shown as the worker 0.
    case process
    /// An endpoint that was given no source of a status: it knows the health checks only.
    case endpoint
}

/// How a service is doing, in one word: the first of these that applies, from the last to the first.
public enum ServiceState: String, Codable, CaseIterable, Hashable, Sendable {
    /// All is well.
    case ready
    /// It does its work, but a check warns, a worker is not ready, or the metrics of one cannot be read.
    case degraded
    /// A check of the level `ready` fails.
    case unready
    /// It has not finished starting.
    case starting
    /// A check of the level `live` fails.
    case failing
    /// Its end has begun.
    case stopping
}

/// What was built.
public struct VersionStatus: Codable, Hashable, Sendable {
    /// Muster's version.
    public var muster: String?
    /// The version of Swift that it was compiled with.
    public var swift: String?

    /// Creates a description.
    ///
    /// - Parameters:
    ///   - muster: Muster's version.
    ///   - swift: The version of Swift that it was compiled with.
    public init(muster: String? = nil, swift: String? = nil) {
        self.muster = muster
        self.swift = swift
    }
}

/// A backend that workers run.
public struct BackendStatus: Codable, Hashable, Sendable {
    /// The backend's name.
    public var name: String
    /// Who chose it: `explicit`, `hook` or `default`.
    public var source: String
    /// How many workers run it for this reason.
    public var workers: Int

    /// Creates a description.
    ///
    /// - Parameters:
    ///   - name: The backend's name.
    ///   - source: Who chose it.
    ///   - workers: How many workers run it.
    public init(name: String, source: String, workers: Int) {
        self.name = name
        self.source = source
        self.workers = workers
    }
}

/// What the kernel says about one process.
public struct ProcessStatus: Codable, Hashable, Sendable {
    /// Its process identifier.
    public var pid: Int32
    /// When it started.
    public var startedAt: Double?
    /// For how long it has run.
    public var uptimeSeconds: Double?
    /// Threads of the operating system.
    public var threads: Int?
    /// User and system time spent.
    public var cpuSeconds: Double?
    /// Memory in RAM.
    public var residentMemoryBytes: Double?
    /// Open file descriptors.
    public var openDescriptors: Int?

    /// Creates a description of which nothing but the number is known.
    ///
    /// - Parameter pid: The process identifier.
    public init(pid: Int32) {
        self.pid = pid
    }

    /// Creates a description from a reading.
    ///
    /// - Parameters:
    ///   - pid: The process identifier.
    ///   - statistics: What was read.
    ///   - now: The present instant, in seconds since 1970-01-01 00:00 UTC.
    public init(pid: Int32, _ statistics: ProcessStatistics, at now: Double) {
        self.pid = pid
        startedAt = statistics.startTimeSeconds
        uptimeSeconds = statistics.startTimeSeconds.map { max(0, now - $0) }
        threads = statistics.threads
        cpuSeconds = statistics.cpuSeconds
        residentMemoryBytes = statistics.residentMemoryBytes
        openDescriptors = statistics.openDescriptors
    }
}

/// The health checks: the verdict of each level, and the checks behind them.
public struct HealthStatus: Codable, Hashable, Sendable {
    /// What `/livez` answers.
    public var live = CheckState.pass
    /// What `/readyz` answers.
    public var ready = CheckState.pass
    /// What `/startupz` answers.
    public var startup = CheckState.pass
    /// The checks in the order of their registration.
    public var checks: [CheckStatus] = []

    /// Creates the health of something without checks.
    public init() {}
}

/// A health check and what it found last. A check that takes its time is not asked for a status; its latest answer to
/// a probe is shown.
public struct CheckStatus: Codable, Hashable, Sendable {
    /// The check's name.
    public var name: String
    /// What it speaks for: `live`, `ready`, `startup`.
    public var levels: [String]
    /// What it found.
    public var state: CheckState
    /// Why it warns or fails.
    public var reason: String?
    /// When it found it.
    public var foundAt: Double?

    /// Creates a description.
    ///
    /// - Parameters:
    ///   - name: The check's name.
    ///   - levels: What it speaks for.
    ///   - state: What it found.
    ///   - reason: Why it warns or fails.
    ///   - foundAt: When it found it, in seconds since 1970-01-01 00:00 UTC.
    public init(name: String, levels: [String], state: CheckState, reason: String? = nil, foundAt: Double? = nil) {
        self.name = name
        self.levels = levels
        self.state = state
        self.reason = reason
        self.foundAt = foundAt
    }
}

/// What a health check, or all of a level, came to.
public enum CheckState: String, Codable, CaseIterable, Hashable, Sendable {
    /// All is well.
    case pass
    /// Something needs attention.
    case warn
    /// It fails.
    case fail
    /// Nobody has asked the check yet. It does not count for its levels.
    case unknown
}

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

/// What a worker is doing.
public enum WorkerState: String, Codable, CaseIterable, Hashable, Sendable {
    /// Its process is coming up.
    case starting
    /// Its process serves.
    case ready
    /// Its process was asked to stop.
    case stopping
    /// Its process makes no progress and is being replaced.
    case hung
    /// Its process has died, and the next one is held back for a while.
    case backoff
    /// Its process has done what it was for.
    case finished
}

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

/// How much a report leaves out because there would be too much of it.
public struct OmittedStatus: Codable, Hashable, Sendable {
    /// Workers beyond the first ``StatusLimits/workers``.
    public var workers = 0
    /// Looping calls beyond the first ``StatusLimits/loops``.
    public var loops = 0

    /// Nothing is left out.
    public init() {}
}

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

/// How much of everything a status shows.
public enum StatusLimits {
    /// The most workers.
    public static let workers = 500
    /// The most looping calls.
    public static let loops = 500
    /// The most health checks.
    public static let checks = 200
    /// The most points of the history.
    public static let points = 300
    /// The shortest time between two points of the history, in seconds.
    public static let pointDistanceSeconds = 2.0
}

/// Knows how a service is doing. Whoever launches it implements this; the endpoint adds what it knows itself: health
/// checks and history.
public protocol StatusSource: Sendable {
    /// Looks at the service. Called on the endpoint's thread; it must not wait for anything.
    ///
    /// - Returns: The service at present.
    func look() -> StatusLook
}

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

/// The status of a process of which the endpoint knows nothing but that it serves it.
package struct BareStatus: StatusSource {
    package init() {}

    private let sampler = ProcessSampler()

    package func look() -> StatusLook {
        let now = WallClock.secondsSinceEpoch
        return StatusLook(
            report: StatusReport(
                at: now, name: "Muster", mode: .endpoint, version: VersionStatus(),
                process: ProcessStatus(pid: getpid(), sampler.sample(), at: now)))
    }
}

extension StatusReport {
    /// The report as JSON, its keys in alphabetic order.
    ///
    /// - Returns: The body of an answer, in UTF-8 with a newline at its end.
    /// - Throws: `EncodingError` for a number that is not finite.
    public func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var bytes = Array(try encoder.encode(self))
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    /// Reads what ``json()`` or a service's `/status` has written.
    ///
    /// - Parameter json: The JSON.
    /// - Throws: `DecodingError` for what is no status of the version ``currentSchemaVersion``.
    public init(json: some Sequence<UInt8>) throws {
        self = try JSONDecoder().decode(StatusReport.self, from: Data(json))
    }
}
