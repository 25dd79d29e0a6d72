// SPDX-License-Identifier: Apache-2.0

/// A number for each reason.
package struct DeathCounts: Hashable, Sendable {
    private var counts = [Int](repeating: 0, count: DeathReason.allCases.count)

    /// All zero.
    package init() {}

    /// The number of one reason.
    package internal(set) subscript(reason: DeathReason) -> Int {
        get { counts[Self.index(reason)] }
        set { counts[Self.index(reason)] = newValue }
    }

    /// The sum over all reasons.
    package var total: Int { counts.reduce(0, +) }

    private static func index(_ reason: DeathReason) -> Int {
        switch reason {
        case .exit: 0
        case .signal: 1
        case .outOfMemory: 2
        case .heartbeat: 3
        case .startupTimeout: 4
        case .requested: 5
        case .reload: 6
        }
    }
}
