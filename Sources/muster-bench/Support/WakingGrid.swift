// SPDX-License-Identifier: Apache-2.0

/// When something woke, and when it was due.
struct WakingGrid: Sendable {
    let interval: Int64
    /// Instants in nanoseconds, in pairs.
    let due: [Int64]
    let woken: [Int64]

    /// How late each waking was for its own due instant.
    var latenesses: [Int64] { zip(woken, due).map { $0 - $1 } }

    /// How far the due instants have moved from the grid that the first of them began.
    var slipped: Int64 {
        guard let first = due.first, let last = due.last else { return 0 }
        return last - first - Int64(due.count - 1) * interval
    }

    /// How far each waking was from the grid that the first due instant began.
    private var offsets: [Int64] {
        guard let first = due.first else { return [] }
        return woken.enumerated().map { $0.element - first - Int64($0.offset) * interval }
    }

    /// The lowest tenth's end of the last tenth of the run: a grid that has moved takes its most punctual wakings
    /// along, while neighbours hold up only some.
    var endDrift: Double {
        Statistics.quantile(0.1, of: offsets.suffix(max(1, offsets.count / 10)))
    }

    /// The same of the second half, minus that of the first.
    var driftGrowth: Double {
        let offsets = offsets
        let half = offsets.count / 2
        return Statistics.quantile(0.1, of: offsets.suffix(half)) - Statistics.quantile(0.1, of: offsets.prefix(half))
    }
}
