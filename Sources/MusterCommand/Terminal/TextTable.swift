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
    ///
    /// - Parameter rows: How many rows it will have.
    init(rows: Int) { rowCount = rows }

    /// Adds a column; one in which nothing stands anywhere is left out.
    mutating func add(_ column: Column, _ cells: [Cell]) {
        guard cells.count == rowCount, cells.contains(where: { !$0.text.isEmpty }) else { return }
        columns.append(column)
        self.cells.append(cells)
    }

    /// The lines, the titles first.
    ///
    /// - Parameters:
    ///   - width: How many places the terminal's lines have.
    ///   - style: How words are set off.
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
