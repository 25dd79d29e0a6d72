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
    private let watchdog: SystemdWatchdog?
    private var isReady = false
    private var isReloading = false
    private var status = ""

    init(health: HealthRegistry, logger: Logger) {
        let notifier = SystemdNotifier(logger: logger)
        self.notifier = notifier
        watchdog = notifier.map { SystemdWatchdog(notifier: $0, health: health, logger: logger) }
    }

    /// Begins to feed the watchdog, if there is one.
    func watch(_ supervisor: Supervisor) {
        watchdog?.begin(on: supervisor.loop)
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
            notifier.ready(status: line(supervisor, isReloading: false))
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

    private func line(_ supervisor: Supervisor, isReloading: Bool? = nil) -> String {
        let snapshot = supervisor.report.snapshot
        let parts = snapshot.groups.map { group in
            let ready = group.slots.count { $0.state == .ready }
            let restarts = group.slots.reduce(0) { $0 + $1.restartsByReason.total }
            return "\(group.configuration.name): \(ready) of \(group.workers) workers ready, \(restarts) restarts"
        }
        let prefix =
            switch snapshot.phase {
            case .running: isReloading ?? snapshot.isReloading ? "Reloading; " : ""
            case .stopping, .halting: "Stopping; "
            case .finished: "Stopped; "
            }
        return prefix + parts.joined(separator: "; ")
    }
}
