// SPDX-License-Identifier: Apache-2.0

/// Where a job is in its life.
public enum JobState: String, Hashable, Sendable, CaseIterable {
    /// Spawned, its first line has not run yet.
    case queued
    /// Started and not finished: running or suspended at an `await`.
    case running
    /// Asked to cancel and not finished.
    case stopping
    /// Over; its outcome is known.
    case finished
}
