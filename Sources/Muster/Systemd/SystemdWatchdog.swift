// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterEndpoint
import MusterPlatform

/// Feeds systemd's watchdog at half of its time-out, as long as the program is live.
final class SystemdWatchdog: Sendable {
    private let notifier: SystemdNotifier
    private let health: HealthRegistry
    private let logger: Logger
    private let isOver = Locked(false)

    init(notifier: SystemdNotifier, health: HealthRegistry, logger: Logger) {
        self.notifier = notifier
        self.health = health
        self.logger = logger
    }

    /// Begins, if systemd has asked for it.
    ///
    /// - Parameter loop: Whose thread it is done on.
    func begin(on loop: EventLoop) {
        guard let interval = notifier.watchdogInterval else { return }
        loop.submit { [self] in feed(every: interval, on: loop) }
    }

    /// Ends: what takes long from here on is the service manager's stop time-out to judge.
    func end() {
        isOver.withLock { $0 = true }
    }

    private func feed(every interval: Duration, on loop: EventLoop) {
        if isOver.withLock({ $0 }) { return }
        health.evaluate(.live, on: loop) { [self] report in
            if report.isPassing {
                notifier.watchdog()
            } else {
                logger.error("the service manager's watchdog is not fed: the program is not live")
            }
        }
        loop.schedule(at: .now.advanced(by: interval)) { [weak self] in self?.feed(every: interval, on: loop) }
    }
}
