// SPDX-License-Identifier: Apache-2.0

import Foundation
import Logging
import MusterDemoSupport
import MusterLock
import Testing

@Suite("The demo's JSON log")
struct JSONLogTests {
    private static let hostile = [
        "", "plain", "\"", "\\", "\n", "a\r\nb", "\u{0}\u{1F}\u{7F}", "\u{2028}\u{2029}", "grün 😀 日本",
        "\u{200B}e\u{301}",
        "</script>", "{\"level\":\"info\"}", "\",\"level\":\"critical", "\u{1B}[31m",
        String(repeating: "x", count: 100_000),
    ]

    private static func record(_ log: (inout Logger) -> Void) throws -> (line: [UInt8], fields: [String: Any]) {
        let lines = Locked<[[UInt8]]>([])
        var logger = Logger(label: "a \"label\"\n") { label in
            JSONLogHandler(label: label) { line in lines.withLock { $0.append(line) } }
        }
        log(&logger)
        let line = try #require(lines.withLock { $0.count == 1 ? $0[0] : nil })
        let fields = try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any]
        return (line, try #require(fields))
    }

    @Test("Each message is one line that reads back as it was, whatever is in it", arguments: hostile)
    func message(text: String) throws {
        let (line, fields) = try Self.record { logger in
            logger[metadataKey: "of the logger"] = "1"
            logger.warning(
                "\(text)",
                metadata: [
                    text: "\(text)", "list": ["\(text)", "b"], "nested": ["\(text)": ["deep": "\(text)"]],
                    "number": .stringConvertible(7),
                ])
        }
        #expect(line.filter { $0 == UInt8(ascii: "\n") }.count == 1)
        #expect(line.last == UInt8(ascii: "\n"))
        #expect(fields["message"] as? String == text)
        #expect(fields["level"] as? String == "warning")
        #expect(fields["label"] as? String == "a \"label\"\n")
        let metadata = try #require(fields["metadata"] as? [String: Any])
        #expect(metadata[text] as? String == text)
        #expect(metadata["list"] as? [String] == [text, "b"])
        #expect((metadata["nested"] as? [String: [String: String]])?[text]?["deep"] == text)
        #expect(metadata["number"] as? String == "7")
        #expect(metadata["of the logger"] as? String == "1")
        let time = try #require(fields["timestamp"] as? String)
        let date = try Date(time, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        #expect(abs(date.timeIntervalSinceNow) < 60)
    }

    @Test("A message without metadata has none, and the source is there")
    func plain() throws {
        let (_, fields) = try Self.record { $0.info("x") }
        #expect(fields["metadata"] == nil)
        #expect(fields["source"] as? String == "MusterIntegrationTests")
    }
}
