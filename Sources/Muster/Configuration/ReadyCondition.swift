// SPDX-License-Identifier: Apache-2.0

/// How many workers of each launched service have to be ready for the whole to be.
public enum ReadyCondition: String, Hashable, Sendable, CaseIterable {
    /// One is enough: the others are being replaced, and meanwhile it serves.
    case anyWorker = "any-worker"
    /// All of them, for a service whose capacity counts.
    case everyWorker = "every-worker"
}
