// SPDX-License-Identifier: Apache-2.0

/// Where a supervisor is.
package enum SupervisorPhase: String, CaseIterable, Hashable, Sendable {
    /// Workers are started, watched and started again.
    case running
    /// The graceful end: no worker is started any more.
    case stopping
    /// The end at once: every process has been killed.
    case halting
    /// Everything is over.
    case finished
}
