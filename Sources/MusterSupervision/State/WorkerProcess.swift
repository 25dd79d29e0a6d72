// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// A process of ours that has not been reaped.
struct WorkerProcess: Hashable, Sendable {
    let birth: Int
    var role: WorkerRole
    var phase = ProcessPhase.starting
    /// Whether it is there; until then it has only been asked for.
    var isSpawned = false
    /// When it was made, or took its slot.
    var startedAt: MonotonicInstant
    /// When it got ready, or was parked.
    var upSince: MonotonicInstant?
    /// Whether it may have read its settings before they were changed.
    var needsReset = false

    /// Since when it has served.
    var readySince: MonotonicInstant? {
        switch role {
        case .current, .successor, .former: upSince
        case .spare: nil
        }
    }
}
