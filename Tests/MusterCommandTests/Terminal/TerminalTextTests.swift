// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import MusterCommand

@Suite("Text for terminals")
struct TerminalTextTests {
    @Test(
        "has time spans with about three digits",
        arguments: [
            (0, "0 s"), (0.000_000_42, "420 ns"), (1e-11, "0 s"), (0.000_071, "71 µs"), (0.000_999, "999 µs"),
            (0.000_999_9, "1 ms"),
            (0.00093, "930 µs"), (0.0032, "3.2 ms"), (0.25, "250 ms"), (0.9994, "999 ms"), (0.9996, "1 s"), (1, "1 s"),
            (4.25, "4.25 s"), (12.46, "12.5 s"), (99.94, "99.9 s"), (99.96, "1m 40s"), (252, "4m 12s"),
            (3599.6, "1h 00m"), (11_520, "3h 12m"), (187_200, "2d 04h"), (-0.5, "-500 ms"),
        ])
    func durations(seconds: Double, text: String) {
        #expect(Readable.duration(seconds) == text)
    }

    @Test("has a dash for what is not known, and for what is no number")
    func unknown() {
        #expect(Readable.duration(nil) == "-")
        #expect(Readable.duration(.infinity) == "-")
        #expect(Readable.duration(1e300) == "-")
        #expect(Readable.bytes(.nan) == "-")
        #expect(Readable.bytes(-1) == "-")
        #expect(Readable.percent(nil) == "-")
        #expect(Readable.percent(1e300) == "-")
        #expect(Readable.count(nil as Int?) == "-")
        #expect(Readable.ago(nil, from: 1) == "-")
        #expect(Readable.ahead(nil, from: 1) == "-")
    }

    @Test("has amounts with their units")
    func amounts() {
        #expect(Readable.bytes(640) == "640 B")
        #expect(Readable.bytes(20_345_678) == "19.4 MiB")
        #expect(Readable.bytes(1_048_000) == "1 MiB")
        #expect(Readable.bytes(4.5e15) == "4093 TiB")
        #expect(Readable.percent(0.0123) == "1.23 %")
        #expect(Readable.percent(2) == "200 %")
        #expect(Readable.ahead(3, from: 2.5) == "in 500 ms")
        #expect(Readable.ahead(2, from: 3) == "1 s over")
        #expect(Readable.ago(5, from: 4) == "0 s ago")
    }

    @Test("is cut by the places that it takes, not by its characters")
    func cutting() {
        #expect(TextWidth.of("a\u{65E5}\u{301}") == 3)
        #expect(TextWidth.cut("abc", to: 3) == "abc")
        #expect(TextWidth.cut("abcd", to: 3) == "ab\u{2026}")
        #expect(TextWidth.cut("\u{65E5}\u{672C}\u{8A9E}", to: 4) == "\u{65E5}\u{2026}")
        #expect(TextWidth.cut("abc", to: 0) == "")
    }

    @Test("is wrapped at spaces, and within words that are too long")
    func wrapping() {
        #expect(TextWrap.lines("one two three", width: 7) == ["one two", "three"])
        #expect(TextWrap.lines("abcdefghij", width: 4).allSatisfy { $0.count <= 4 })
        #expect(TextWrap.lines("abcdefghij", width: 4).joined() == "abcdefghij")
        #expect(TextWrap.lines("ab", width: 0).joined() == "ab")
    }

    @Test(
        "has colours on a terminal that has them, unless they are not wanted",
        arguments: [
            (true, false, ["TERM": "xterm"], true), (false, false, ["TERM": "xterm"], false),
            (true, true, ["TERM": "xterm"], false), (true, false, ["TERM": "dumb"], false), (true, false, [:], false),
            (true, false, ["TERM": "xterm", "NO_COLOR": "1"], false),
            (true, false, ["TERM": "xterm", "NO_COLOR": ""], true),
        ] as [(Bool, Bool, [String: String], Bool)])
    func colours(isTerminal: Bool, isRefused: Bool, environment: [String: String], expected: Bool) {
        let style = Style(isTerminal: isTerminal, isRefused: isRefused) { environment[$0] }
        #expect(style.hasColour == expected)
    }

    @Test("has JSON with other white space and nothing else changed")
    func json() {
        let json = #"{ "a" : [1, {"b\"{": "c, d"}], "e":{}, "f": [ ] }"#
        #expect(
            String(decoding: JSONText.onOneLine(Array(json.utf8)), as: UTF8.self)
                == #"{"a":[1,{"b\"{":"c, d"}],"e":{},"f":[]}"#)
        let pretty = """
            {
              "a": [
                1,
                {
                  "b\\"{": "c, d"
                }
              ],
              "e": {},
              "f": []
            }
            """
        #expect(String(decoding: JSONText.pretty(Array(json.utf8)), as: UTF8.self) == pretty)
    }
}
