// SPDX-License-Identifier: Apache-2.0

/// The output that a page shows of a command. A number of one digit is meant as it stands; a longer one is an example,
/// and any number will do. What is between quotation marks, such as a label's value, is meant as it stands.
struct ExpectedOutput {
    private enum Piece: Equatable {
        case text(String)
        case number(String)
    }

    private let lines: [[Piece]]

    init(_ shown: String) {
        lines = shown.split(separator: "\n").map(Self.pieces)
    }

    /// Whether a command has printed what is shown, and nothing else but empty lines.
    func fits(_ output: String) -> Bool {
        let printed = output.split(separator: "\n").map(Self.pieces)
        return printed.count == lines.count && zip(lines, printed).allSatisfy(Self.fits)
    }

    private static func fits(_ shown: [Piece], _ printed: [Piece]) -> Bool {
        shown.count == printed.count
            && zip(shown, printed).allSatisfy { pair in
                if case (.number(let example), .number) = pair, example.count > 1 { return true }
                return pair.0 == pair.1
            }
    }

    /// Cuts a line where numbers begin and end.
    private static func pieces(_ line: Substring) -> [Piece] {
        var pieces: [Piece] = []
        var rest = line
        while !rest.isEmpty {
            if let number = rest.prefixMatch(of: /[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?/) {
                pieces.append(.number(String(number.0)))
                rest = rest[number.range.upperBound...]
            } else if let text = rest.prefixMatch(of: /(?:"[^"]*"|[^0-9"])+|"/) {
                pieces.append(.text(String(text.0)))
                rest = rest[text.range.upperBound...]
            }
        }
        return pieces
    }
}
