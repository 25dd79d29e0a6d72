// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Glibc
package import MusterMetrics
import MusterPlatform

/// What the status page and `/status` tell: a service at one moment, as far as its endpoint knows it.
///
/// In the JSON, and so in these types, keys that end in `At` are instants in seconds since 1970-01-01 00:00 UTC, keys
/// that end in `Seconds` or `Bytes` are amounts, and what is not known is left out. `docs/status.schema.json` describes
/// each key.
package struct StatusReport: Codable, Hashable, Sendable {
    /// The version of the JSON that this Muster writes.
    package static let currentSchemaVersion = 1

    /// The version of the JSON. It rises when a key changes its meaning or vanishes, or a word is added to those that a
    /// key can be; a new key does not raise it.
    package var schemaVersion = Self.currentSchemaVersion
    /// When the report was made.
    package var at: Double
    /// What is launched: the names of its services.
    package var name: String
    /// How it is doing, in one word.
    package var state = ServiceState.ready
    /// Who answers.
    package var mode: StatusMode
    /// What was built.
    package var version: VersionStatus
    /// The process that answers: the supervisor, or the program that is all there is.
    package var process: ProcessStatus
    /// Whether a rolling reload is under way.
    package var isReloading = false
    /// The backends that workers run, and why.
    package var backends: [BackendStatus] = []
    /// The health checks.
    package var health = HealthStatus()
    /// The launched services.
    package var groups: [WorkerGroupStatus] = []
    /// The workers by group and slot.
    package var workers: [WorkerStatus] = []
    /// The looping calls by group, name and backend, each over all workers of its group that run the backend.
    package var loops: [LoopStatus] = []
    /// What there was no room for.
    package var omitted = OmittedStatus()
    /// How it went in the last minutes.
    package var history = StatusHistory()

    package init(at: Double, name: String, mode: StatusMode, version: VersionStatus, process: ProcessStatus) {
        self.at = at
        self.name = name
        self.mode = mode
        self.version = version
        self.process = process
    }
}

/// Who answers for a service.
package enum StatusMode: String, Codable, CaseIterable, Hashable, Sendable {
    /// A supervisor of worker processes.
    case supervisor
    /// The one process that runs everything; it is shown as the worker 0.
    case process
    /// An endpoint that was given no source of a status: it knows the health checks only.
    case endpoint
}

/// How a service is doing, in one word: the first of these that applies, from the last to the first.
package enum ServiceState: String, Codable, CaseIterable, Hashable, Sendable {
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
package struct VersionStatus: Codable, Hashable, Sendable {
    /// Muster's version.
    package var muster: String?
    /// The version of Swift that it was compiled with.
    package var swift: String?

    package init(muster: String? = nil, swift: String? = nil) {
        self.muster = muster
        self.swift = swift
    }
}

/// A backend that workers run.
package struct BackendStatus: Codable, Hashable, Sendable {
    /// The backend's name.
    package var name: String
    /// Who chose it: `explicit`, `hook` or `default`.
    package var source: String
    /// How many workers run it for this reason.
    package var workers: Int

    package init(name: String, source: String, workers: Int) {
        self.name = name
        self.source = source
        self.workers = workers
    }
}

/// What the kernel says about one process.
package struct ProcessStatus: Codable, Hashable, Sendable {
    /// Its process identifier.
    package var pid: Int32
    /// When it started.
    package var startedAt: Double?
    /// For how long it has run.
    package var uptimeSeconds: Double?
    /// Threads of the operating system.
    package var threads: Int?
    /// User and system time spent.
    package var cpuSeconds: Double?
    /// Memory in RAM.
    package var residentMemoryBytes: Double?
    /// Open file descriptors.
    package var openDescriptors: Int?

    package init(pid: Int32) {
        self.pid = pid
    }

    package init(pid: Int32, _ statistics: ProcessStatistics, at now: Double) {
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
package struct HealthStatus: Codable, Hashable, Sendable {
    /// What `/livez` answers.
    package var live = CheckState.pass
    /// What `/readyz` answers.
    package var ready = CheckState.pass
    /// What `/startupz` answers.
    package var startup = CheckState.pass
    /// The checks in the order of their registration.
    package var checks: [CheckStatus] = []

    package init() {}
}

/// A health check and what it found last. A check that takes its time is not asked for a status; its latest answer to
/// a probe is shown.
package struct CheckStatus: Codable, Hashable, Sendable {
    /// The check's name.
    package var name: String
    /// What it speaks for: `live`, `ready`, `startup`.
    package var levels: [String]
    /// What it found.
    package var state: CheckState
    /// Why it warns or fails.
    package var reason: String?
    /// When it found it.
    package var foundAt: Double?

    package init(name: String, levels: [String], state: CheckState, reason: String? = nil, foundAt: Double? = nil) {
        self.name = name
        self.levels = levels
        self.state = state
        self.reason = reason
        self.foundAt = foundAt
    }
}

/// What a health check, or all of a level, came to.
package enum CheckState: String, Codable, CaseIterable, Hashable, Sendable {
    /// All is well.
    case pass
    /// Something needs attention.
    case warn
    /// It fails.
    case fail
    /// Nobody has asked the check yet. It does not count for its levels.
    case unknown

    /// The worse of two states.
    func worse(_ other: CheckState) -> CheckState {
        if self == .fail || other == .fail { return .fail }
        return self == .warn || other == .warn ? .warn : .pass
    }
}

/// A launched service.
package struct WorkerGroupStatus: Codable, Hashable, Sendable {
    /// The service's name: the label `worker_group` of its metrics.
    package var name: String
    /// How many workers it shall have.
    package var wantedWorkers: Int
    /// How many of them are ready.
    package var readyWorkers: Int
    /// How many warm spares wait for a slot.
    package var readySpares = 0
    /// How many warm spares are coming up.
    package var startingSpares = 0
    /// How often its workers were replaced.
    package var restarts = 0
    /// Whether that was too often in too short a time.
    package var restartsTooOften = false

    package init(name: String, wantedWorkers: Int, readyWorkers: Int) {
        self.name = name
        self.wantedWorkers = wantedWorkers
        self.readyWorkers = readyWorkers
    }
}

/// A worker's slot and the process in it.
package struct WorkerStatus: Codable, Hashable, Sendable {
    /// The launched service.
    package var group: String
    /// The number of the slot: the label `worker` of its metrics.
    package var slot: Int
    /// What it is doing.
    package var state: WorkerState
    /// Its process, when there is one. `cpuSeconds` counts the slot's former processes, too.
    package var process: ProcessStatus?
    /// The backend it runs; unknown until it has selected one.
    package var backend: String?
    /// Who chose the backend: `explicit`, `hook` or `default`.
    package var backendSource: String?
    /// How many processors it has used on average since the look before, 1 for one that was busy all the time; unknown
    /// at the first look.
    package var cpuCores: Double?
    /// Jobs alive.
    package var jobs: Int?
    /// Until when it is known to have made progress.
    package var heartbeatAt: Double?
    /// How long that is ago: 0 unless it has been at one thing, or a looping call has exceeded its limit.
    package var heartbeatAgeSeconds: Double?
    /// How many processes the slot has had.
    package var starts = 1
    /// How often the slot got a new process, by why the one before ended; without the reasons that there was nothing
    /// for.
    package var restarts: [String: Int] = [:]
    /// Why the slot's former process ended.
    package var lastRestartReason: String?
    /// When the slot's former process ended.
    package var lastRestartAt: Double?
    /// How long the next process is held back.
    package var backoffSeconds: Double?
    /// Whether its metrics can be read. Those of a worker that has damaged them stay as they were.
    package var isReadable = true

    package init(group: String, slot: Int, state: WorkerState) {
        self.group = group
        self.slot = slot
        self.state = state
    }

    /// How often the slot got a new process.
    package var restartCount: Int { restarts.values.reduce(0, +) }
}

/// What a worker is doing.
package enum WorkerState: String, Codable, CaseIterable, Hashable, Sendable {
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
package struct LoopStatus: Codable, Hashable, Sendable {
    /// The launched service.
    package var group: String
    /// The loop's name.
    package var name: String
    /// The backend that it runs on.
    package var backend: String
    /// In how many workers it has run.
    package var workers = 0
    /// The time between two scheduled starts, where it is fixed; the longest one where workers differ.
    package var intervalSeconds: Double?
    /// When a periodic task runs, and in which workers; missing for other loops.
    package var schedule: String?
    /// Runs begun.
    package var runs: UInt64 = 0
    /// Runs that ended with an error.
    package var failures: UInt64 = 0
    /// Runs that lasted beyond the next scheduled start.
    package var overruns: UInt64 = 0
    /// Runs left out because the one before lasted too long or the loop woke too late.
    package var skipped: UInt64 = 0
    /// How late half of all runs were at most, estimated from the histogram as Prometheus does.
    package var latenessP50Seconds: Double?
    /// How late 99 of 100 runs were at most, estimated from the histogram as Prometheus does.
    package var latenessP99Seconds: Double?
    /// How long a run takes on average.
    package var meanRunSeconds: Double?
    /// How far the schedule has slipped from its ideal grid; of several workers the one that has slipped the most.
    package var driftSeconds: Double?
    /// When the last run began in any worker.
    package var lastRunAt: Double?
    /// When the next run is due in any worker.
    package var nextRunAt: Double?

    package init(group: String, name: String, backend: String) {
        self.group = group
        self.name = name
        self.backend = backend
    }
}

/// How much a report leaves out because there would be too much of it.
package struct OmittedStatus: Codable, Hashable, Sendable {
    /// Workers beyond the first ``StatusLimits/workers``.
    package var workers = 0
    /// Looping calls beyond the first ``StatusLimits/loops``.
    package var loops = 0

    package init() {}
}

/// How it went in the last minutes: one value of each list per point, oldest first.
///
/// Nothing is sampled at an interval. A point is taken when somebody looks, at the page, `/status` or `/metrics`, and
/// the one before is at least ``StatusLimits/pointDistanceSeconds`` old. So whoever opens the page of a service that
/// Prometheus scrapes sees how it got there.
package struct StatusHistory: Codable, Hashable, Sendable {
    /// When the points were taken.
    package var at: [Double] = []
    /// How late 99 of 100 runs of all looping calls were at most since the point before; `nil` when there were none.
    package var latenessP99Seconds: [Double?] = []
    /// Threads of all workers.
    package var threads: [Int] = []
    /// How often workers have been replaced since the start.
    package var restarts: [Int] = []
    /// Workers that were ready.
    package var readyWorkers: [Int] = []

    package init() {}
}

/// How much of everything a status shows.
package enum StatusLimits {
    /// The most workers.
    package static let workers = 500
    /// The most looping calls.
    package static let loops = 500
    /// The most health checks.
    package static let checks = 200
    /// The most points of the history.
    package static let points = 300
    /// The shortest time between two points of the history, in seconds.
    package static let pointDistanceSeconds = 2.0
}

/// Knows how a service is doing. Whoever launches it implements this; the endpoint adds what it knows itself: health
/// checks and history.
package protocol StatusSource: Sendable {
    /// Looks at the service. Called on the endpoint's thread; it must not wait for anything.
    func look() -> StatusLook
}

/// What a ``StatusSource`` has found.
package struct StatusLook: Sendable {
    /// The service, without health, history and what follows from them.
    package var report: StatusReport
    /// Whether its end has begun.
    package var isStopping: Bool
    /// The lateness of all runs of all looping calls since the start; `nil` when there are none.
    package var lateness: HistogramSnapshot?

    package init(report: StatusReport, isStopping: Bool = false, lateness: HistogramSnapshot? = nil) {
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
    package func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var bytes = Array(try encoder.encode(self))
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    /// Reads what ``json()`` or a service's `/status` has written.
    ///
    /// - Throws: `DecodingError` for what is no status of the version ``currentSchemaVersion``.
    package init(json: some Sequence<UInt8>) throws {
        self = try JSONDecoder().decode(StatusReport.self, from: Data(json))
    }
}
