// SPDX-License-Identifier: Apache-2.0

/// A table that fits a terminal: what there is no room for is cut, and then left out, the least important first. A
/// line is never longer than the terminal is wide.
struct TextTable: Hashable, Sendable {
    /// A column of a table.
    struct Column: Hashable, Sendable {
        /// What stands above it.
        let title: String
        /// Whether it has numbers, which stand at the right.
        let isNumeric: Bool
        /// The least important columns are left out first; those of `.max` never.
        let importance: Int
        /// How many places it can make do with; `nil` for a column that is not cut.
        let minimum: Int?

        init(_ title: String, isNumeric: Bool = false, importance: Int, minimum: Int? = nil) {
            self.title = title
            self.isNumeric = isNumeric
            self.importance = importance
            self.minimum = minimum
        }
    }

    /// What stands in one place.
    struct Cell: Hashable, Sendable, ExpressibleByStringLiteral {
        let text: String
        let emphasis: Style.Emphasis?

        init(_ text: String, _ emphasis: Style.Emphasis? = nil) {
            self.text = text.onOneLine
            self.emphasis = emphasis
        }

        init(stringLiteral text: String) { self.init(text) }
    }

    private static let gap = "  "
    private(set) var columns: [Column] = []
    private var cells: [[Cell]] = []
    private let rowCount: Int

    /// Makes an empty table.
    init(rows: Int) { rowCount = rows }

    /// Adds a column; one in which nothing stands anywhere is left out.
    mutating func add(_ column: Column, _ cells: [Cell]) {
        guard cells.count == rowCount, cells.contains(where: { !$0.text.isEmpty }) else { return }
        columns.append(column)
        self.cells.append(cells)
    }

    /// The lines, the titles first.
    func lines(width: Int, style: Style) -> [String] {
        let fitted = fit(width)
        let titles = line(fitted, style) { Cell(columns[$0].title, .quiet) }
        return [titles] + (0..<rowCount).map { row in line(fitted, style) { cells[$0][row] } }
    }

    private func line(
        _ fitted: [(index: Int, width: Int)], _ style: Style, _ cell: (Int) -> Cell
    ) -> String {
        var line = ""
        // Spaces are set down only before what comes after them, so that no line ends with any.
        var pending = ""
        for (place, (index, width)) in fitted.enumerated() {
            let cell = cell(index)
            let text = TextWidth.cut(cell.text, to: width)
            let space = String(repeating: " ", count: width - TextWidth.of(text))
            if place > 0 { pending += Self.gap }
            if columns[index].isNumeric { pending += space }
            if !text.isEmpty {
                line += pending + style.mark(text, as: cell.emphasis)
                pending = ""
            }
            if !columns[index].isNumeric { pending += space }
        }
        return line
    }

    /// The columns there is room for, with their widths.
    private func fit(_ width: Int) -> [(index: Int, width: Int)] {
        var shown = columns.indices.map { index in
            (index: index, width: ([columns[index].title] + cells[index].map(\.text)).map(TextWidth.of).max() ?? 0)
        }
        while true {
            var excess = shown.map(\.width).reduce(0, +) + Self.gap.count * max(0, shown.count - 1) - width
            if excess <= 0 { return shown }
            let room = shown.map { max(0, $0.width - (columns[$0.index].minimum ?? $0.width)) }
            if room.reduce(0, +) >= excess {
                // The widest of those that can be cut gives first.
                while excess > 0,
                    let place = shown.indices.filter({ room[$0] > 0 && canShrink(shown[$0]) })
                        .max(by: { shown[$0].width < shown[$1].width })
                {
                    shown[place].width -= 1
                    excess -= 1
                }
                return shown
            }
            let droppable = shown.indices.filter { columns[shown[$0].index].importance < .max }
            guard
                let least = droppable.min(by: {
                    columns[shown[$0].index].importance < columns[shown[$1].index].importance
                })
            else { return squeeze(shown, by: excess) }
            shown.remove(at: least)
        }
    }

    private func canShrink(_ shown: (index: Int, width: Int)) -> Bool {
        columns[shown.index].minimum.map { shown.width > $0 } ?? false
    }

    /// The last resort: the widest columns are cut, whatever they hold, and in the end left out.
    private func squeeze(_ shown: [(index: Int, width: Int)], by excess: Int) -> [(index: Int, width: Int)] {
        var shown = shown
        for _ in 0..<excess {
            guard let place = shown.indices.max(by: { shown[$0].width < shown[$1].width }), shown[place].width > 1
            else { return Array(shown.prefix(1)) }
            shown[place].width -= 1
        }
        return shown
    }
}

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

/// How words are set off on a terminal. A word never says by its colour alone what it says.
public struct Style: Hashable, Sendable {
    /// What a word is.
    public enum Emphasis: Hashable, Sendable {
        case good
        case doubtful
        case bad
        case strong
        case quiet

        var code: String {
            switch self {
            case .good: "32"
            case .doubtful: "33"
            case .bad: "1;31"
            case .strong: "1"
            case .quiet: "2"
            }
        }
    }

    /// Whether there are colours.
    public let hasColour: Bool

    /// Plain text.
    public static let plain = Style(hasColour: false)
    /// Text with colours.
    public static let coloured = Style(hasColour: true)

    /// Chooses as command lines do: colours on a terminal that has them, unless somebody does not want them.
    ///
    /// - Parameters:
    ///   - isTerminal: Whether the output is a terminal.
    ///   - isRefused: Whether the command line says no.
    ///   - environment: The environment's value of a name: `NO_COLOR` that is not empty (no-color.org) and the `TERM`
    ///     `dumb` refuse colours, too.
    public init(isTerminal: Bool, isRefused: Bool, environment: (String) -> String?) {
        let isUnwanted = environment("NO_COLOR").map { !$0.isEmpty } ?? false
        let term = environment("TERM") ?? "dumb"
        hasColour = isTerminal && !isRefused && !isUnwanted && term != "dumb" && !term.isEmpty
    }

    private init(hasColour: Bool) {
        self.hasColour = hasColour
    }

    /// A text with what sets it off.
    ///
    /// - Parameters:
    ///   - text: The text.
    ///   - emphasis: What it is; `nil` for nothing special.
    public func mark(_ text: String, as emphasis: Emphasis?) -> String {
        guard hasColour, let emphasis, !text.isEmpty else { return text }
        return "\u{1B}[\(emphasis.code)m\(text)\u{1B}[0m"
    }
}
