// SPDX-License-Identifier: Apache-2.0

/// Breaks text at spaces.
enum TextWrap {
    /// The lines of a text, none longer than some places.
    static func lines(_ text: String, width: Int) -> [String] {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            var word = String(word)
            if !line.isEmpty, TextWidth.of(line) + 1 + TextWidth.of(word) <= width {
                line += " " + word
                continue
            }
            if !line.isEmpty { lines.append(line) }
            while TextWidth.of(word) > max(1, width) {
                lines.append(String(word.prefix(max(1, width / 2))))
                word.removeFirst(max(1, width / 2))
            }
            line = word
        }
        return line.isEmpty ? lines : lines + [line]
    }
}
