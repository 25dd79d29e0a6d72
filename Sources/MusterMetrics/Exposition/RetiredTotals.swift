// SPDX-License-Identifier: Apache-2.0

/// An arena that a slot has given up while a process may still count in it, and the carried totals without it.
struct RetiredTotals: Sendable {
    struct Family: Sendable {
        let baseName: String
        let serial: Int
        /// Where the cells of each series begin, in the catalog's order.
        let valueOffsets: [Int]
        /// The words carried from the arenas before.
        let base: [UInt64]
    }

    let mapping: ArenaMapping
    let families: [Family]
}
