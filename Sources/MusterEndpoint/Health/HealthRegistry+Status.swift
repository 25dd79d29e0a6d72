// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

extension HealthRegistry {
    /// The checks' state without waiting for any: those that take their time are not asked, and tell what they found
    /// last. Nothing is logged or remembered.
    var status: HealthStatus {
        let now = now
        let present = WallClock.secondsSinceEpoch
        var status = HealthStatus()
        var places: [String: Int] = [:]
        for level in HealthLevel.allCases {
            let hasStarted = level == .startup && hasStarted
            var verdict = CheckState.pass
            for item in selected(at: level) where !item.isImplied {
                let found: CheckStatus
                if let place = places[item.name] {
                    if place < status.checks.count { status.checks[place].levels.append(level.rawValue) }
                    found = place < status.checks.count ? status.checks[place] : glance(item, level, now, present)
                } else {
                    found = glance(item, level, now, present)
                    if status.checks.count < StatusLimits.checks {
                        places[item.name] = status.checks.count
                        status.checks.append(found)
                    }
                }
                verdict = Self.worse(verdict, found.state)
            }
            if hasStarted { verdict = .pass }
            switch level {
            case .live: status.live = verdict
            case .ready: status.ready = verdict
            case .startup: status.startup = verdict
            }
        }
        return status
    }

    private func glance(
        _ item: Item, _ level: HealthLevel, _ now: MonotonicInstant, _ present: Double
    ) -> CheckStatus {
        guard let entry = answer(item, at: level, now: now) ?? latestAnswer(item) else {
            return CheckStatus(name: item.name, levels: [level.rawValue], state: .unknown)
        }
        let state: CheckState =
            switch entry.result {
            case .pass: .pass
            case .warn: .warn
            case .fail: .fail
            }
        return CheckStatus(
            name: item.name, levels: [level.rawValue], state: state, reason: entry.result.reason,
            foundAt: entry.instant.map { present + now.duration(to: $0).inSeconds })
    }

    private static func worse(_ first: CheckState, _ second: CheckState) -> CheckState {
        if first == .fail || second == .fail { return .fail }
        return first == .warn || second == .warn ? .warn : .pass
    }
}
