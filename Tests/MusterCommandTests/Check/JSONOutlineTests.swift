// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Muster

@Suite("The keys of a JSON document")
struct JSONOutlineTests {
    @Test("have paths and lines")
    func leaves() throws {
        let outline = try JSONOutline(
            """
            {
              "muster": { "endpoint": { "address": "off" },
                "liveness-limit": 5 },

              "mailer": { "hosts": [ "a", {"x": 1}, [] ], "empty": {}, "on": true, "no": null, "z": -1.5e3 }
            }

            """)
        #expect(
            outline.leaves.map { "\($0.line) \($0.path)" } == [
                "2 muster.endpoint.address", "3 muster.liveness-limit", "5 mailer.hosts", "5 mailer.on", "5 mailer.no",
                "5 mailer.z",
            ])
    }

    @Test(
        "are not to be had from what is no JSON object, which is told with its line",
        arguments: [
            ("", 1, "'{', as settings are an object"), ("[1]", 1, "'{', as settings are an object"),
            ("{\n\"a\": 1\n\"b\": 2}", 3, "',' or '}'"), ("{\"a\" 1}", 1, "':' after the key 'a'"),
            ("{\"a\": yes}", 1, "a value"), ("{\"a\": \"x\n\"}", 1, "a '\"' at the text's end"),
            ("{\"a\": 1,}", 1, "a key in double quotes"), ("{} x", 1, "nothing more after the object"),
            ("{\"a\": [1 2]}", 1, "',' or ']'"), ("{\"a\": nan}", 1, "a value"),
            ("{\"a\\", 1, "a '\"' at the text's end"),
            (String(repeating: "{\"a\":", count: 500), 1, "fewer levels than 128"),
            ("{\"a\":" + String(repeating: "[", count: 500), 1, "fewer levels than 128"),
        ])
    func problems(text: String, line: Int, expected: String) {
        let problem = #expect(throws: JSONOutline.Problem.self) { try JSONOutline(text) }
        #expect(problem == JSONOutline.Problem(line: line, expected: expected))
    }
}
