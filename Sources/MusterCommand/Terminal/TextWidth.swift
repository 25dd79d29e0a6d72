// SPDX-License-Identifier: Apache-2.0

/// How much of a terminal's line text takes.
enum TextWidth {
    /// East Asian wide characters and emoji, which take two places.
    private static let wide: [ClosedRange<UInt32>] = [
        0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x4DBF, 0x4E00...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF,
        0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F, 0x1F900...0x1F9FF, 0x20000...0x3FFFD,
    ]

    /// The places that one character takes.
    static func of(_ character: Character) -> Int {
        guard let scalar = character.unicodeScalars.first else { return 0 }
        if scalar.isASCII { return 1 }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark: return 0
        default: return wide.contains { $0.contains(scalar.value) } ? 2 : 1
        }
    }

    /// The places that a text takes.
    static func of(_ text: String) -> Int { text.reduce(0) { $0 + of($1) } }

    /// A text that takes no more than some places; what is left out is shown as `…`.
    static func cut(_ text: String, to width: Int) -> String {
        guard of(text) > width else { return text }
        guard width > 0 else { return "" }
        var result = ""
        var taken = 1
        for character in text {
            taken += of(character)
            if taken > width { break }
            result.append(character)
        }
        return result + "\u{2026}"
    }

    /// A text filled up with spaces.
    static func fill(_ text: String, to width: Int, atLeft: Bool) -> String {
        let space = String(repeating: " ", count: max(0, width - of(text)))
        return atLeft ? space + text : text + space
    }
}
