// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Numbers on the status page")
struct PageFormatTests {
    @Test(
        "Durations have a unit that fits and three digits at most",
        arguments: [
            (0, "0 s"), (3e-9, "3 ns"), (12.34e-6, "12.3 µs"), (0.001, "1 ms"), (0.0015, "1.5 ms"),
            (0.123456, "123 ms"), (0.9994, "999 ms"), (0.9999, "1 s"), (2.449, "2.45 s"), (59.9, "59.9 s"),
            (60, "60 s"), (192, "3m 12s"), (-0.25, "-250 ms"), (.infinity, "–"),
        ] as [(Double, String)])
    func durations(seconds: Double, text: String) {
        #expect(PageFormat.duration(seconds) == text)
    }

    @Test(
        "Long ones are told in two units",
        arguments: [
            (0, "0 s"), (42.9, "42 s"), (192, "3m 12s"), (3600, "1h 00m"), (14_580, "4h 03m"),
            (86_400 * 5 + 7200, "5d 02h"), (-3, "0 s"), (1e300, "–"), (.nan, "–"),
        ] as [(Double, String)])
    func spans(seconds: Double, text: String) {
        #expect(PageFormat.span(seconds) == text)
    }

    @Test("Moments are told from now")
    func moments() {
        #expect(PageFormat.moment(100, from: 100.5) == "now")
        #expect(PageFormat.moment(100, from: 103) == "3 s ago")
        #expect(PageFormat.moment(190, from: 100) == "in 90 s")
    }

    @Test("Bytes have a unit that fits", arguments: [(812, "812 B"), (1536, "1.5 KiB"), (24_117_248, "23 MiB")])
    func bytes(count: Double, text: String) {
        #expect(PageFormat.bytes(count) == text)
    }

    @Test("Counts have groups of three")
    func counts() {
        #expect(PageFormat.count(UInt64(999)) == "999")
        #expect(PageFormat.count(UInt64(1_234_567)) == "1\u{202F}234\u{202F}567")
        #expect(PageFormat.count(Int?.none) == "–")
    }

    @Test("An instant that is no date of ours has none", arguments: [-1, .nan, .infinity, 1e18])
    func timestamps(instant: Double) {
        #expect(PageFormat.timestamp(instant) == nil)
    }
}
