// SPDX-License-Identifier: Apache-2.0

/// How a reload ended: the label `outcome`.
package enum ReloadOutcome: String, CaseIterable, Hashable, Sendable {
    /// All workers are new, or have been told to read their settings again.
    case completed
    /// A new worker did not get ready; the old ones go on.
    case aborted
    /// The settings cannot be read; nothing was done.
    case refused
    /// A later reload stands for this one, or the launcher ends.
    case superseded
}
