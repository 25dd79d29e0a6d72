// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// Whether a group restarts too often: more than so many times within a period. Pure.
///
/// It remembers one restart more than are tolerated, so it stays small whatever happens.
struct RestartWindow: Hashable, Sendable {
    private var restarts: [MonotonicInstant] = []
    /// Whether there have been too many, and no calm since.
    private(set) var isExceeded = false

    /// Takes a restart in.
    mutating func record(at now: MonotonicInstant, _ intensity: RestartIntensity) {
        restarts.append(now)
        trim(intensity)
        if calm(intensity).map({ now < $0 }) ?? false { isExceeded = true }
    }

    /// When there are no longer too many, if no further restart comes; nil when there have not been that many.
    func calm(_ intensity: RestartIntensity) -> MonotonicInstant? {
        guard restarts.count > max(0, intensity.maximum), let first = restarts.first else { return nil }
        return first.advanced(by: max(.nanoseconds(1), intensity.period))
    }

    /// Looks whether it has calmed down.
    mutating func check(at now: MonotonicInstant, _ intensity: RestartIntensity?) {
        guard let intensity else {
            self = RestartWindow()
            return
        }
        trim(intensity)
        isExceeded = isExceeded && calm(intensity).map { now < $0 } ?? false
    }

    private mutating func trim(_ intensity: RestartIntensity) {
        restarts.removeFirst(max(0, restarts.count - max(0, intensity.maximum) - 1))
    }
}
