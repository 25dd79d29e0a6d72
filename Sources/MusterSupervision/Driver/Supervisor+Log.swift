// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import MusterPlatform

extension Supervisor {
    /// Tells people what the state machine has noted.
    func log(_ notice: SupervisorNotice) {
        switch notice {
        case .started(let worker, let birth):
            logger.info("worker starts", metadata: metadata(worker, birth))
        case .spareStarted(let group, let birth):
            logger.debug("warm spare starts", metadata: metadata(.spare(group: group), birth))
        case .spareParked(let group, let birth):
            logger.debug("warm spare is there", metadata: metadata(.spare(group: group), birth))
        case .ready(let worker, let birth):
            logger.info("worker is ready", metadata: metadata(worker, birth))
        case .startFailed(let worker, let birth):
            var details = metadata(worker, birth)
            details["reason"] = "\(children[birth]?.failure ?? "not told")"
            logger.error("worker's service did not start", metadata: details)
        case .died(let death): log(death)
        case .restarting(let worker, let reason, let delay):
            var details = metadata(worker, nil)
            details["reason"] = "\(reason.rawValue)"
            details["delay"] = "\(delay)"
            logger.log(level: delay > .zero ? .warning : .info, "worker is started again", metadata: details)
        case .completed(let worker):
            logger.info("worker has done its work", metadata: metadata(worker, nil))
        case .spawnFailed(let target, _, let delay):
            var details = metadata(target, nil)
            details["delay"] = "\(delay)"
            logger.error("worker is to be tried again", metadata: details)
        case .unresponsive(let worker, let birth):
            logger.error("hung worker is ended", metadata: metadata(worker, birth))
        case .startupTimedOut(let target, let birth):
            logger.error("worker was not ready in time", metadata: metadata(target, birth))
        case .stopTimedOut(let birth):
            guard let child = children[birth] else { break }
            logger.error("worker did not stop in time and is killed", metadata: metadata(child.target, birth))
        case .reloadBegan: logger.info("workers are replaced one by one")
        case .reloadEnded(let outcome): log(outcome)
        case .intensityExceeded(let group):
            logger.error("a service restarts too often", metadata: ["worker_group": "\(state.groupName(group))"])
        case .intensityCalm(let group):
            logger.notice(
                "a service no longer restarts too often", metadata: ["worker_group": "\(state.groupName(group))"])
        case .scaled(let group, let workers):
            logger.info(
                "number of workers changes",
                metadata: ["worker_group": "\(state.groupName(group))", "workers": "\(workers)"])
        case .shutdownBegan(let status): logger.info("stopping workers", metadata: ["status": "\(status)"])
        case .halted: logger.critical("ending at once: every worker is killed")
        }
    }

    private func log(_ outcome: ReloadOutcome) {
        switch outcome {
        case .completed: logger.info("reload is complete")
        case .aborted: logger.error("reload was given up: a new worker did not get ready, the old ones go on")
        case .refused: logger.error("reload was refused")
        case .superseded: logger.info("reload was overtaken")
        }
    }

    private func log(_ death: WorkerDeath) {
        let target: SpawnTarget = death.worker.map { .slot($0) } ?? .spare(group: death.group)
        var details = metadata(target, death.birth)
        details["reason"] = "\(death.reason.rawValue)"
        details["uptime"] = "\(death.uptime)"
        switch death.termination {
        case .exited(let code): details["code"] = "\(code)"
        case .signaled(let signal): details["signal"] = "\(UnixSignal(rawValue: signal))"
        }
        let level: Logger.Level =
            switch death.reason {
            case .requested, .reload: .info
            default: death.termination == .exited(code: 0) ? .notice : .error
            }
        logger.log(level: level, "worker has ended", metadata: details)
    }

    private func metadata(_ worker: WorkerID, _ birth: Int?) -> Logger.Metadata {
        metadata(.slot(worker), birth)
    }

    private func metadata(_ target: SpawnTarget, _ birth: Int?) -> Logger.Metadata {
        var details: Logger.Metadata = ["worker": "\(name(of: target))"]
        let child = birth.flatMap { children[$0] } ?? (departed?.birth == birth ? departed : nil)
        if let pid = child?.process.pid { details["pid"] = "\(pid)" }
        return details
    }
}
