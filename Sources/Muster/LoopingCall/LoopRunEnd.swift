// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// The end of a run.
struct LoopRunEnd: Hashable, Sendable {
    /// When the next run is due.
    var due: MonotonicInstant
    /// By how much the run has lasted beyond the next start, if it has.
    var overrun: Duration?
    /// Runs left out because this one has lasted too long.
    var skipped = 0
}
