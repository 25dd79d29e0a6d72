// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterEndpoint
import MusterHealth
import MusterPlatform
import MusterSupervision

/// Shows the results of a worker's health checks to its supervisor, through the vital signs.
///
/// A check that the application reports is shown as it is reported. The others are made at an interval, half of their
/// maximum age, on behalf of the probes: a worker without checks never wakes for this.
final class HealthPublisher: Sendable {
    /// How often a check is made that names no maximum age.
    private static let defaultInterval: Duration = .seconds(5)

    private let health: HealthRegistry
    private let vitalSigns: VitalSignsWriter?
    private let loop: EventLoop
    private let logger: Logger
    private let known = Locked<Set<String>>([])

    init(health: HealthRegistry, vitalSigns: VitalSignsWriter?, loop: EventLoop, logger: Logger) {
        self.health = health
        self.vitalSigns = vitalSigns
        self.loop = loop
        self.logger = logger
    }

    /// Begins with the checks that there are, and goes on with those that come. On the loop's thread, or before it
    /// runs.
    func begin() {
        guard vitalSigns != nil else { return }
        health.onRegistration { [self] check in loop.submit { [self] in publish(check) } }
    }

    private func publish(_ check: HealthCheck) {
        guard known.withLock({ $0.insert(check.name).inserted }) else { return }
        if let reporter = check.reporter {
            reporter.onReport { [self] result, instant in
                show(check, result, at: instant, maximumAge: check.maximumAge)
            }
        } else {
            let interval = check.maximumAge > .zero ? check.maximumAge / 2 : Self.defaultInterval
            make(check, every: interval)
        }
    }

    private func make(_ check: HealthCheck, every interval: Duration) {
        guard let level = check.levels.min(by: { $0.rawValue < $1.rawValue }) else { return }
        health.evaluate(level, only: check.name, on: loop) { [self] report in
            guard let entry = report.entries.first else { return }
            show(check, entry.result, at: .now, maximumAge: interval * 3)
        }
        loop.schedule(at: .now.advanced(by: interval)) { [self] in make(check, every: interval) }
    }

    private func show(_ check: HealthCheck, _ result: HealthResult, at instant: MonotonicInstant, maximumAge: Duration)
    {
        let isShown = vitalSigns?.setHealth(
            HealthSign(
                name: check.name, levels: HealthSign.Levels(check.levels), status: result.signStatus,
                reason: result.reason ?? "", reportedAt: instant, maximumAge: maximumAge))
        if isShown == false, known.withLock({ $0.insert("\(check.name) ").inserted }) {
            logger.warning(
                "the supervisor cannot be told of this health check: there are too many",
                metadata: ["check": "\(check.name)"])
        }
    }
}

extension HealthResult {
    fileprivate var signStatus: HealthSign.Status {
        switch self {
        case .pass: .pass
        case .warn: .warn
        case .fail: .fail
        }
    }
}
