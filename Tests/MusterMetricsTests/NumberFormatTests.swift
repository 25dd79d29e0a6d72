// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import MusterMetrics

@Suite("Numbers in the exposition")
struct NumberFormatTests {
    @Test(
        "Integers",
        arguments: [
            0, 1, 9, 10, 99, 100, 12_345, 9_999_999_999, 1 << 53, UInt64.max, UInt64.max - 1,
            10_000_000_000_000_000_000,
        ])
    func integers(value: UInt64) {
        var bytes = [UInt8](repeating: 0, count: NumberFormat.maximumLength)
        let length = NumberFormat.write(value, to: &bytes)
        #expect(String(decoding: bytes[..<length], as: UTF8.self) == "\(value)")
    }

    @Test(
        "Values",
        arguments: [
            (0, "0"), (-0.0, "0"), (1, "1"), (-1, "-1"), (0.1, "0.1"), (1e6, "1000000"), (1e15, "1000000000000000"),
            (-1e18, "-1000000000000000000"), (1e19, "1e+19"), (-1e300, "-1e+300"), (.infinity, "+Inf"),
            (-.infinity, "-Inf"), (.nan, "NaN"), (-.nan, "NaN"), (1.5e-7, "1.5e-07"),
            (.leastNonzeroMagnitude, "5e-324"),
            (-2.2250738585072014e-308, "-2.2250738585072014e-308"), (1234.5, "1234.5"),
            (0x1p63, "9.223372036854776e+18"),
        ] as [(Double, String)])
    func values(value: Double, text: String) {
        var bytes = [UInt8](repeating: 0, count: NumberFormat.maximumLength)
        let length = NumberFormat.write(value, to: &bytes)
        #expect(String(decoding: bytes[..<length], as: UTF8.self) == text)
    }

    // The examples of OpenMetrics 1.0, "Considerations: Canonical Numbers", and Go's shortest %g beyond them.
    @Test(
        "Bounds as canonical numbers",
        arguments: [
            (0.005, "0.005"), (1, "1.0"), (10, "10.0"), (0.00001, "1e-05"), (0.0001, "0.0001"), (100_000, "100000.0"),
            (1e6, "1e+06"), (1e10, "1e+10"), (2.5e6, "2.5e+06"), (1_234_567, "1.234567e+06"),
            (1_234_567.25, "1.23456725e+06"), (-1e6, "-1e+06"), (1e100, "1e+100"), (1e16, "1e+16"),
            (123_456_789_012, "1.23456789012e+11"), (.infinity, "+Inf"), (-2.5, "-2.5"), (0, "0.0"),
        ] as [(Double, String)])
    func canonical(value: Double, text: String) {
        #expect(NumberFormat.canonical(value) == text)
    }
}
