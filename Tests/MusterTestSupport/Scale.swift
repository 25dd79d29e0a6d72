// SPDX-License-Identifier: Apache-2.0

import Glibc

/// How much smaller the tests of large numbers are than they should be: under a sanitizer, which makes each step ten
/// times as expensive, they would take the processors away from all other tests for minutes.
package enum Scale {
    private static let divisor = number("MUSTER_TEST_SCALE")
    /// For long runs by hand.
    private static let factor = number("MUSTER_TEST_TIMES")

    private static func number(_ variable: String) -> Int {
        max(1, getenv(variable).flatMap { Int(String(cString: $0)) } ?? 1)
    }

    /// Whether a sanitizer makes tests run with less.
    package static let isReduced = divisor > 1

    /// A number made smaller, or larger for a long run.
    ///
    /// - Parameter number: The number without a sanitizer.
    package static func of(_ number: Int) -> Int { max(1, number * factor / divisor) }
}

/// How long the storms of kills and of reloads last: as short as it makes sense, or for people (`scripts/storm`) longer.
package enum Storm {
    /// What was asked for, if it was.
    package static let seconds = getenv("MUSTER_STORM_SECONDS").flatMap { Double(String(cString: $0)) }

    /// Repeats something a number of times, or for as long as was asked for.
    ///
    /// - Returns: How often, and how long it took.
    @discardableResult
    package static func run(
        atLeast count: Int, _ body: (Int) async throws -> Void
    ) async rethrows -> (count: Int, took: Duration) {
        let began = ContinuousClock.now
        var round = 0
        while round < count || began.duration(to: .now) < .seconds(seconds ?? 0) {
            round += 1
            try await body(round)
        }
        return (round, began.duration(to: .now))
    }
}
