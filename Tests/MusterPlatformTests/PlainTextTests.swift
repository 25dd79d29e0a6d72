// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@Suite("Amounts as text")
struct PlainTextTests {
    @Test(
        "Durations have three digits, or their two largest units",
        arguments: [
            (0, "0 s"), (1e-11, "0 s"), (3e-9, "3 ns"), (0.000_071, "71 µs"), (0.000_999_9, "1 ms"), (0.25, "250 ms"),
            (0.9996, "1 s"), (4.25, "4.25 s"), (99.94, "99.9 s"), (99.96, "1m 40s"), (3599.6, "1h 00m"),
            (11_520, "3h 12m"), (187_200, "2d 04h"), (-0.5, "-500 ms"), (-252, "-4m 12s"), (.infinity, nil),
            (.nan, nil),
            (1e300, nil),
        ] as [(Double, String?)])
    func durations(seconds: Double, text: String?) {
        #expect(PlainText.duration(seconds) == text)
    }

    @Test(
        "A setting's duration is exact",
        arguments: [
            (.seconds(70), "70 s"), (.milliseconds(1500), "1.5 s"), (.milliseconds(20), "20 ms"), (.zero, "0 s"),
            (.microseconds(7), "7 µs"), (.seconds(3600), "3600 s"), (.seconds(-2), "-2 s"),
            (.milliseconds(1234), "1.234 s"), (.seconds(Int64.max), "9.223372036854776e+18 s"),
        ] as [(Duration, String)])
    func settings(duration: Duration, text: String) {
        #expect(duration.text == text)
    }

    @Test(
        "Bytes have binary units",
        arguments: [
            (0, "0 B"), (812, "812 B"), (1536, "1.5 KiB"), (20_345_678, "19.4 MiB"), (1_048_000, "1 MiB"),
            (4.5e15, "4093 TiB"), (-1, nil), (.nan, nil), (.infinity, nil),
        ] as [(Double, String?)])
    func bytes(count: Double, text: String?) {
        #expect(PlainText.bytes(count) == text)
    }

    @Test("One thing has no plural")
    func plural() {
        #expect([0, 1, 2].map { PlainText.count($0, "worker") } == ["0 workers", "1 worker", "2 workers"])
    }

    @Test("Control characters are replaced, and nothing else")
    func controlCharacters() {
        #expect("a\u{1B}[31m\n\u{202E}b\u{85}\u{2028}".replacingControlCharacters(with: "?") == "a?[31m??b??")
        #expect("größer 中 🙂".replacingControlCharacters(with: "?") == "größer 中 🙂")
    }
}
