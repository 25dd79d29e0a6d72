// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import MusterEndpoint
import MusterPlatform
import MusterSupervision

/// Tells the service manager (systemd) how the supervisor fares: ready when every worker is, reloading, stopping, a
/// line of status, and the watchdog only while the program is live. Belongs to the supervisor's thread.
///
/// Sound as `@unchecked Sendable`: used on the supervisor's thread only, after its creation.
final class ServiceManagerLink: @unchecked Sendable {
    private let notifier: SystemdNotifier?
    private let health: HealthRegistry
    private let logger: Logger
    private var isReady = false
    private var isReloading = false
    private var status = ""

    init(health: HealthRegistry, logger: Logger) {
        notifier = SystemdNotifier(logger: logger)
        self.health = health
        self.logger = logger
    }

    /// Begins to feed the watchdog, if there is one.
    func watch(_ supervisor: Supervisor) {
        guard let notifier, let interval = notifier.watchdogInterval else { return }
        feed(notifier, every: interval, on: supervisor.loop)
    }

    private func feed(_ notifier: SystemdNotifier, every interval: Duration, on loop: EventLoop) {
        health.evaluate(.live, on: loop) { [logger] report in
            if report.isPassing {
                notifier.watchdog()
            } else {
                logger.error("the service manager's watchdog is not fed: the program is not live")
            }
        }
        loop.schedule(at: .now.advanced(by: interval)) { [weak self] in
            self?.feed(notifier, every: interval, on: loop)
        }
    }

    func note(_ notice: SupervisorNotice, _ supervisor: Supervisor) {
        guard let notifier else { return }
        switch notice {
        case .reloadBegan:
            isReloading = true
            notifier.reloading()
        case .reloadEnded:
            // Also for one that was refused: the manager waits for this word.
            if !isReloading { notifier.reloading() }
            isReloading = false
            notifier.ready(status: line(supervisor))
        case .shutdownBegan, .halted:
            notifier.stopping()
        default: break
        }
    }

    func update(_ supervisor: Supervisor) {
        guard let notifier else { return }
        let line = line(supervisor)
        if !isReady, supervisor.isEveryWorkerReady {
            isReady = true
            status = line
            notifier.mainProcess(getpid())
            notifier.ready(status: line)
        } else if line != status {
            status = line
            notifier.status(line)
        }
    }

    private func line(_ supervisor: Supervisor) -> String {
        let snapshot = supervisor.report.snapshot
        let parts = snapshot.groups.map { group in
            let ready = group.slots.count { $0.state == .ready }
            let restarts = group.slots.reduce(0) { $0 + $1.restartsByReason.total }
            return "\(group.configuration.name): \(ready) of \(group.workers) workers ready, \(restarts) restarts"
        }
        let prefix =
            switch snapshot.phase {
            case .running: snapshot.isReloading ? "Reloading; " : ""
            case .stopping, .halting: "Stopping; "
            case .finished: "Stopped; "
            }
        return prefix + parts.joined(separator: "; ")
    }
}
