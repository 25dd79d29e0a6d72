// SPDX-License-Identifier: Apache-2.0

/// Escapes text for the exposition formats.
enum TextEscaping {
    /// Appends a help text: a backslash and a line feed are escaped, in OpenMetrics the double quote, too.
    static func append(help: String, format: ExpositionFormat, to bytes: inout [UInt8]) {
        append(help, escapingQuotes: format == .openMetrics, to: &bytes)
    }

    /// Appends `name="value"` with the value escaped, which both formats do alike.
    static func append(label name: String, value: String, to bytes: inout [UInt8]) {
        bytes.append(contentsOf: name.utf8)
        bytes.append(contentsOf: #"=""#.utf8)
        append(value, escapingQuotes: true, to: &bytes)
        bytes.append(UInt8(ascii: "\""))
    }

    /// Appends the labels in braces; nothing when there are none.
    static func append(labels: [(name: String, value: String)], to bytes: inout [UInt8]) {
        guard !labels.isEmpty else { return }
        var separator = UInt8(ascii: "{")
        for label in labels {
            bytes.append(separator)
            append(label: label.name, value: label.value, to: &bytes)
            separator = UInt8(ascii: ",")
        }
        bytes.append(UInt8(ascii: "}"))
    }

    private static func append(_ text: String, escapingQuotes: Bool, to bytes: inout [UInt8]) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): bytes.append(contentsOf: #"\\"#.utf8)
            case UInt8(ascii: "\n"): bytes.append(contentsOf: #"\n"#.utf8)
            case UInt8(ascii: "\"") where escapingQuotes: bytes.append(contentsOf: #"\""#.utf8)
            default: bytes.append(byte)
            }
        }
    }
}
