// SPDX-License-Identifier: Apache-2.0

/// How many requests are answered: one for each interval, and some at once after a pause.
struct RateLimit: Hashable {
    /// The time in which one more request may come.
    var interval: Duration
    /// How many may come at once; at least 1.
    var burst: Int
}
