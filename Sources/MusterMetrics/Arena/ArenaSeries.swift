// SPDX-License-Identifier: Apache-2.0

/// One series of a family: its label values and where its cells begin, counted from the arena's first byte.
struct ArenaSeries: Hashable, Sendable {
    var labelValues: [String]
    var valueOffset: Int
}
