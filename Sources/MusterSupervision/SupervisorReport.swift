// SPDX-License-Identifier: Apache-2.0

import MusterLock
package import MusterMetrics
package import MusterPlatform

/// The state of a supervisor and its workers, for metrics, probes and status.
package struct SupervisorReport: Sendable {
    /// One live process.
    package struct Process: Sendable {
        package var incarnation: Int
        package var pid: Int32
        package var target: SpawnTarget
        package var vitalSigns: VitalSignsReader
        /// Since when it has been stopped by a signal (SIGSTOP).
        package var stoppedSince: MonotonicInstant?
        /// When it was found to be hung.
        package var hungSince: MonotonicInstant?
        /// Reads its figures; opened at the first use.
        package var sampler: LazySampler
    }

    /// What a slot keeps over its processes.
    package struct Slot: Sendable {
        /// CPU time of the slot's former processes, in seconds.
        package var cpuSeconds: Double
        package var source: SlotSource
    }

    package var snapshot: SupervisorSnapshot
    /// The live processes by incarnation.
    package var processes: [Int: Process] = [:]
    package var slots: [WorkerID: Slot] = [:]
    /// How long a worker may show no progress.
    package var livenessLimit: Duration
}

/// What a supervisor runs, and how it spawns workers.
package struct SupervisorPlan: Sendable {
    /// A listening socket that every worker inherits.
    package struct Socket: Sendable {
        package var name: String
        package var descriptor: Int32

        package init(name: String, descriptor: Int32) {
            self.name = name
            self.descriptor = descriptor
        }
    }

    package var configuration: SupervisorConfiguration
    /// The executable of the workers.
    package var executable = SpawnRequest.ownExecutable
    package var program: String
    /// The arguments after the program's name, byte for byte.
    package var arguments: [[UInt8]]
    /// The workers' environment, but for the marker.
    package var environment: ProcessEnvironment
    /// The sockets that workers inherit.
    package var sockets: [Socket] = []
    /// How long a worker may show no progress before it counts as hung.
    package var livenessLimit: Duration
    /// The size of a slot's metric arena in bytes.
    package var arenaCapacity: Int
    /// How workers are started; always spawned where `executable` is another program than this one.
    package var startMethod = StartMethod.spawn
    /// Whether a worker is replaced when it begins to end, where that can be known.
    package var restartsEarly = true
    /// The settings that workers take, as far as they were loaded.
    package var settings: WorkerSettings?

    package init(
        configuration: SupervisorConfiguration, program: String, arguments: [[UInt8]],
        environment: ProcessEnvironment, livenessLimit: Duration, arenaCapacity: Int
    ) {
        self.configuration = configuration
        self.program = program
        self.arguments = arguments
        self.environment = environment
        self.livenessLimit = livenessLimit
        self.arenaCapacity = arenaCapacity
    }
}

/// Observes a supervisor. Called on the supervisor's thread; it must not block.
package protocol SupervisorObserver: AnyObject, Sendable {
    func supervisor(_ supervisor: Supervisor, records notice: SupervisorNotice)

    /// The supervisor's report has changed.
    func supervisorDidChange(_ supervisor: Supervisor)

    /// The workers are being stopped: connections are no longer accepted.
    func supervisorStopsWorkers(_ supervisor: Supervisor)

    /// The last worker is gone.
    func supervisor(_ supervisor: Supervisor, finishedWith status: Int32)
}

/// A process' sampler, created at its first use: an unscraped process costs no descriptor.
package final class LazySampler: Sendable {
    private struct State {
        var sampler: ProcessSampler?
        var latest = ProcessStatistics()
    }

    private let pid: Int32
    private let state = Locked(State())

    init(pid: Int32) {
        self.pid = pid
    }

    /// Reads the process' figures. After its exit the CPU time is the last known one, so that the slot's total never falls.
    package func sample() -> ProcessStatistics {
        state.withLock { state in
            let sampler = state.sampler ?? ProcessSampler(pid: pid)
            state.sampler = sampler
            var statistics = sampler.sample()
            if let seconds = statistics.cpuSeconds {
                state.latest.cpuSeconds = max(seconds, state.latest.cpuSeconds ?? 0)
            }
            statistics.cpuSeconds = state.latest.cpuSeconds
            return statistics
        }
    }
}
