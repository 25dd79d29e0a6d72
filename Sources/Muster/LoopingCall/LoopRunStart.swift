// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// The begin of a run.
struct LoopRunStart: Hashable, Sendable {
    /// Start minus scheduled start.
    var lateness: Duration
    /// Runs left out because the loop woke too late for them.
    var skipped = 0
    /// When the next run will be due at the latest, if this one goes well.
    var nextDue: MonotonicInstant
}
