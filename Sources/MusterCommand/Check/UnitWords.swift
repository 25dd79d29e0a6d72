// SPDX-License-Identifier: Apache-2.0

/// The words of a setting's value, quoted as systemd.syntax(7) has it.
enum UnitWords {
    /// Splits a value into its words.
    ///
    /// - Parameter text: The value; `nil` is returned when a quotation has no end.
    static func split(_ text: String) -> [String]? {
        var words: [String] = []
        var word = ""
        var isWord = false
        var quote: Character?
        var characters = text.makeIterator()
        while let character = characters.next() {
            if let open = quote {
                if character == open {
                    quote = nil
                } else if character == "\\" {
                    guard let escaped = characters.next() else { return nil }
                    word.append(unescaped(escaped))
                } else {
                    word.append(character)
                }
            } else if character.isWhitespace {
                if isWord { words.append(word) }
                word = ""
                isWord = false
            } else if character == "\"" || character == "'", !isWord || word.hasSuffix("=") {
                quote = character
                isWord = true
            } else if character == "\\", let escaped = characters.next() {
                word.append(unescaped(escaped))
                isWord = true
            } else {
                word.append(character)
                isWord = true
            }
        }
        guard quote == nil else { return nil }
        if isWord { words.append(word) }
        return words
    }

    private static func unescaped(_ character: Character) -> Character {
        switch character {
        case "n": "\n"
        case "t": "\t"
        case "r": "\r"
        case "s": " "
        default: character
        }
    }
}
