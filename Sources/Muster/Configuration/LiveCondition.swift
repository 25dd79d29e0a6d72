// SPDX-License-Identifier: Apache-2.0

/// What the liveness of a supervised program depends on.
public enum LiveCondition: String, Hashable, Sendable, CaseIterable {
    /// The supervisor works, and gets hung workers replaced.
    case noHungWorker = "no-hung-worker"
    /// The supervisor works, whatever becomes of its workers.
    case supervisor
}
