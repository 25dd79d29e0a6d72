// SPDX-License-Identifier: Apache-2.0

/// Why a worker's process ended: the label `reason`.
public enum DeathReason: String, CaseIterable, Hashable, Sendable {
    /// It exited by itself.
    case exit
    /// A signal from elsewhere, or a crash.
    case signal
    /// The kernel killed it because memory had run out.
    case outOfMemory = "oom"
    /// It made no progress and was aborted.
    case heartbeat
    /// It was not ready in time and was aborted.
    case startupTimeout = "startup_timeout"
    /// It was asked to stop: by the operator, by scaling down, or because the launcher ends.
    case requested
    /// A rolling reload has replaced it.
    case reload
}
