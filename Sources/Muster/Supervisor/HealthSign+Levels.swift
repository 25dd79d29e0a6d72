// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterPlatform
import MusterSupervision

// A worker's health checks, in the endpoint's terms.
extension HealthSign.Levels {
    init(_ levels: Set<HealthLevel>) {
        self = []
        for level in levels {
            switch level {
            case .live: insert(.live)
            case .ready: insert(.ready)
            case .startup: insert(.startup)
            }
        }
    }

    /// The levels in the endpoint's terms.
    var healthLevels: Set<HealthLevel> {
        var levels: Set<HealthLevel> = []
        if contains(.live) { levels.insert(.live) }
        if contains(.ready) { levels.insert(.ready) }
        if contains(.startup) { levels.insert(.startup) }
        return levels
    }
}

extension HealthSign {
    /// Whether it has not been heard of for too long.
    func isStale(at now: MonotonicInstant) -> Bool {
        maximumAge > .zero && reportedAt.advanced(by: maximumAge) < now
    }

    /// Whether it speaks for its worker.
    func isPassing(at now: MonotonicInstant) -> Bool {
        status != .fail && !isStale(at: now)
    }
}
