// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
package import MusterMetrics
package import MusterPlatform

/// The supervisor's picture of its workers at one instant, for whoever shows it: metrics, probes, reports.
package struct SupervisorReport: Sendable {
    /// One live process.
    package struct Process: Sendable {
        /// The serial number of its start.
        package var incarnation: Int
        /// Its process identifier.
        package var pid: Int32
        /// What it is for.
        package var target: SpawnTarget
        /// Its signs of life.
        package var vitalSigns: VitalSignsReader
        /// Since when the system has kept it from running (SIGSTOP).
        package var stoppedSince: MonotonicInstant?
        /// When it was found to be hung.
        package var hungSince: MonotonicInstant?
        /// Reads its figures; opened by the first who wants them.
        package var sampler: LazySampler
    }

    /// What one slot has kept.
    package struct Slot: Sendable {
        /// CPU time of the slot's processes that are gone, in seconds.
        package var cpuSeconds: Double
        /// The slot's series.
        package var source: SlotSource
    }

    /// The state machine's picture.
    package var snapshot: SupervisorSnapshot
    /// The live processes by incarnation.
    package var processes: [Int: Process] = [:]
    /// The slots that there have been.
    package var slots: [WorkerID: Slot] = [:]
    /// How long a worker may show no progress.
    package var livenessLimit: Duration
}

/// What a supervisor is to run, and how its workers are started.
package struct SupervisorPlan: Sendable {
    /// A listening socket that every worker inherits.
    package struct Socket: Sendable {
        /// The name by which workers ask for it.
        package var name: String
        /// The listening descriptor.
        package var descriptor: Int32

        /// Names a socket.
        package init(name: String, descriptor: Int32) {
            self.name = name
            self.descriptor = descriptor
        }
    }

    /// The groups and their limits.
    package var configuration: SupervisorConfiguration
    /// The executable that is started again as a worker.
    package var executable = "/proc/self/exe"
    /// What the program is called.
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

    /// Makes a plan.
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

/// Who hears what becomes of the workers. Called on the supervisor's thread; it must not block.
package protocol SupervisorObserver: AnyObject, Sendable {
    /// Something has happened that people and metrics are told.
    func supervisor(_ supervisor: Supervisor, records notice: SupervisorNotice)

    /// The supervisor's picture of its workers has changed.
    func supervisorDidChange(_ supervisor: Supervisor)

    /// The workers are told to stop: from here on nobody accepts connections.
    func supervisorStopsWorkers(_ supervisor: Supervisor)

    /// The last worker is gone.
    func supervisor(_ supervisor: Supervisor, finishedWith status: Int32)
}

extension Supervisor {
    /// Tells people what the state machine has noted.
    func log(_ notice: SupervisorNotice) {
        switch notice {
        case .started(let worker, let incarnation):
            logger.info("worker started", metadata: metadata(worker, incarnation))
        case .spareStarted(let group, let incarnation):
            logger.debug("warm spare started", metadata: metadata(.spare(group: group), incarnation))
        case .spareParked(let group, let incarnation):
            logger.debug("warm spare ready", metadata: metadata(.spare(group: group), incarnation))
        case .ready(let worker, let incarnation):
            logger.info("worker ready", metadata: metadata(worker, incarnation))
        case .startFailed(let worker, let incarnation):
            var details = metadata(worker, incarnation)
            details["reason"] = "\(children[incarnation]?.failure ?? "unknown")"
            logger.error("worker's service failed to start", metadata: details)
        case .died(let death): log(death)
        case .restarting(let worker, let reason, let delay):
            var details = metadata(worker, nil)
            details["reason"] = "\(reason.rawValue)"
            details["delay_seconds"] = delay.secondsMetadata
            logger.log(level: delay > .zero ? .warning : .info, "restarting worker", metadata: details)
        case .completed(let worker):
            logger.info("worker completed", metadata: metadata(worker, nil))
        case .spawnFailed(let target, _, let delay):
            // The error itself is logged where it occurs.
            guard delay > .zero else { break }
            var details = metadata(target, nil)
            details["delay_seconds"] = delay.secondsMetadata
            logger.error("worker failed to start; restarting", metadata: details)
        case .unresponsive(let worker, let incarnation):
            logger.error("terminating hung worker", metadata: metadata(worker, incarnation))
        case .startupTimedOut(let target, let incarnation):
            logger.error("startup timeout exceeded; terminating worker", metadata: metadata(target, incarnation))
        case .stopTimedOut(let incarnation):
            guard let child = children[incarnation] else { break }
            logger.error("stop timeout exceeded; killing worker", metadata: metadata(child.target, incarnation))
        case .reloadBegan: logger.info("reload started")
        case .reloadEnded(let outcome): log(outcome)
        case .intensityExceeded(let group):
            logger.error("restart intensity exceeded", metadata: ["worker_group": "\(state.groupName(group))"])
        case .intensityCalm(let group):
            logger.notice(
                "restart intensity back to normal", metadata: ["worker_group": "\(state.groupName(group))"])
        case .scaled(let group, let workers):
            logger.info(
                "scaling workers",
                metadata: ["worker_group": "\(state.groupName(group))", "workers": "\(workers)"])
        case .shutdownBegan(let status): logger.info("stopping workers", metadata: ["exit_code": "\(status)"])
        case .halted: logger.critical("immediate shutdown: killing all workers")
        }
    }

    private func log(_ outcome: ReloadOutcome) {
        switch outcome {
        case .completed: logger.info("reload completed")
        case .aborted:
            logger.error("reload aborted: replacement worker did not become ready; keeping the current workers")
        case .refused: logger.error("reload refused")
        case .superseded: logger.info("reload superseded by a newer one")
        }
    }

    private func log(_ death: WorkerDeath) {
        let target: SpawnTarget = death.worker.map { .slot($0) } ?? .spare(group: death.group)
        var details = metadata(target, death.incarnation)
        details["reason"] = "\(death.reason.rawValue)"
        details["uptime_seconds"] = death.uptime.secondsMetadata
        switch death.termination {
        case .exited(let code): details["exit_code"] = "\(code)"
        case .signaled(let signal): details["signal"] = "\(UnixSignal(rawValue: signal))"
        }
        let level: Logger.Level =
            switch death.reason {
            case .requested, .reload: .info
            default: death.termination == .exited(code: 0) ? .notice : .error
            }
        logger.log(level: level, "worker exited", metadata: details)
    }

    private func metadata(_ worker: WorkerID, _ incarnation: Int?) -> Logger.Metadata {
        metadata(.slot(worker), incarnation)
    }

    private func metadata(_ target: SpawnTarget, _ incarnation: Int?) -> Logger.Metadata {
        var details: Logger.Metadata = ["worker": "\(name(of: target))"]
        let child = incarnation.flatMap { children[$0] } ?? (departed?.incarnation == incarnation ? departed : nil)
        if let pid = child?.process.pid { details["pid"] = "\(pid)" }
        return details
    }
}

extension Duration {
    /// The duration in seconds to the millisecond, as metadata of log messages.
    var secondsMetadata: Logger.MetadataValue { "\((inSeconds * 1000).rounded() / 1000)" }
}
