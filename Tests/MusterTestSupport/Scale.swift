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

    /// A number made smaller, or larger for a long run.
    ///
    /// - Parameter number: The number without a sanitizer.
    package static func of(_ number: Int) -> Int { max(1, number * factor / divisor) }
}
