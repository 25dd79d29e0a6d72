// SPDX-License-Identifier: Apache-2.0

/// Writes HTML. Markup and text go through different doors, so that no name that a user has chosen becomes markup.
struct HTMLWriter {
    /// Longer texts are cut off: names and reasons come from users.
    static let longestText = 300

    private(set) var bytes: [UInt8] = []

    init() {
        bytes.reserveCapacity(32 << 10)
    }

    /// Writes markup as it is. Only literals are markup.
    mutating func markup(_ markup: StaticString) {
        markup.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    /// Writes one of the page's own parts: its style, its script.
    mutating func part(_ part: String) {
        bytes.append(contentsOf: part.utf8)
    }

    /// Writes a text, fit for an element's content and for an attribute in double quotes.
    mutating func text(_ text: String) {
        var count = 0
        for scalar in text.unicodeScalars {
            count += 1
            guard count <= Self.longestText else { return bytes.append(contentsOf: "…".utf8) }
            switch scalar {
            case "&": bytes.append(contentsOf: "&amp;".utf8)
            case "<": bytes.append(contentsOf: "&lt;".utf8)
            case ">": bytes.append(contentsOf: "&gt;".utf8)
            case "\"": bytes.append(contentsOf: "&quot;".utf8)
            case "'": bytes.append(contentsOf: "&#39;".utf8)
            case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}": bytes.append(contentsOf: "\u{FFFD}".utf8)
            default: bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
            }
        }
    }

    /// Writes a name that a user has chosen, whose direction of writing leaves what surrounds it alone.
    mutating func name(_ name: String) {
        markup("<bdi>")
        text(name)
        markup("</bdi>")
    }

    /// Writes an instant: what people read, with the exact time for machines and for those who point at it.
    ///
    /// - Parameters:
    ///   - instant: Seconds since 1970-01-01 00:00 UTC.
    ///   - shown: What people read.
    mutating func time(_ instant: Double, _ shown: String) {
        guard let exact = PageFormat.timestamp(instant) else { return text(shown) }
        markup("<time datetime=\"")
        text(exact)
        markup("\" title=\"")
        text(exact)
        markup("\">")
        text(shown)
        markup("</time>")
    }
}
