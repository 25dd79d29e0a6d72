// SPDX-License-Identifier: Apache-2.0

import Muster
import Testing

@Suite("Durations in settings")
struct DurationTextTests {
    @Test(
        "They are read as people write them",
        arguments: [
            ("10ms", .milliseconds(10)), ("1s", .seconds(1)), ("1.5m", .seconds(90)), ("2h", .seconds(7200)),
            ("1d", .seconds(86_400)), ("250us", .microseconds(250)), ("250\u{B5}s", .microseconds(250)),
            ("250\u{3BC}s", .microseconds(250)), ("7ns", .nanoseconds(7)), ("30", .seconds(30)), ("0", .zero),
            ("0s", .zero), ("0.5", .milliseconds(500)), (".5s", .milliseconds(500)), ("1e", nil), ("", nil),
            ("s", nil), (".", nil), ("ms", nil), ("-5s", nil), ("+5s", nil), ("5 s", nil), (" 5s", nil), ("5S", nil),
            ("5x", nil), ("1.5.2s", nil), ("1,5s", nil), ("1e3", nil), ("0x10", nil), ("nan", nil), ("inf", nil),
            ("infinity", nil), ("\u{0665}s", nil), ("99999999999999999999d", nil), ("107000d", nil), ("5s5", nil),
            ("1m30s", nil), ("60 seconds", nil), (String(repeating: "9", count: 400), nil),
        ] as [(String, Duration?)])
    func table(text: String, duration: Duration?) {
        #expect(Duration(parsing: text) == duration)
    }
}
