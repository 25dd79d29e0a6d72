// SPDX-License-Identifier: Apache-2.0

import Testing

@Suite("Expected output")
struct ExpectedOutputTests {
    @Test(
        "takes long numbers for examples, and short and quoted ones as they stand",
        arguments: [
            ("ok", "ok\n", true),
            ("ok", "okay\n", false),
            ("ok", "ok\nand more\n", false),
            ("status 0", "status 1", false),
            ("count 3", "count 13", false),
            ("count 42", "count 7", true),
            ("at 1767225600.123 s", "at 1.5e+3 s", true),
            (#"x{worker="0"} 42"#, #"x{worker="0"} 1"#, true),
            (#"x{worker="12"} 42"#, #"x{worker="13"} 42"#, false),
        ])
    func fits(shown: String, printed: String, fits: Bool) {
        #expect(ExpectedOutput(shown).fits(printed) == fits)
    }
}
