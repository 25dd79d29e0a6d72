// SPDX-License-Identifier: Apache-2.0

/// A rolling reload under way.
struct RollingReload: Hashable, Sendable {
    /// What is waited for.
    enum Step: Hashable, Sendable {
        /// Nothing: the next slot is looked for.
        case next
        /// A new process has to get ready: the successor of a slot's process, or already the slot's own.
        case starting(Int)
        /// An old process has to be gone, so that there is never more than one too many.
        case draining(Int)
    }

    /// The birth from which on processes are young enough.
    let youngest: Int
    var step = Step.next
}
