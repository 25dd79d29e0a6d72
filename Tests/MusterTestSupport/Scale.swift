// SPDX-License-Identifier: Apache-2.0

import Glibc

/// How much smaller the tests of large numbers are than they should be: under a sanitizer, which makes each step ten
/// times as expensive, they would take the processors away from all other tests for minutes.
package enum Scale {
    private static let divisor = getenv("MUSTER_TEST_SCALE").flatMap { Int(String(cString: $0)) } ?? 1

    /// A number made smaller.
    ///
    /// - Parameter number: The number without a sanitizer.
    package static func of(_ number: Int) -> Int { max(1, number / max(1, divisor)) }
}
