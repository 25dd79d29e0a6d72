// SPDX-License-Identifier: Apache-2.0

/// The common parts of the page's tables.
struct PageTable {
    private var html: HTMLWriter
    private let columns: [Column]
    private var next = 0

    /// A column's heading.
    struct Column {
        let title: StaticString
        let isNumber: Bool

        static func text(_ title: StaticString) -> Column { Column(title: title, isNumber: false) }
        static func number(_ title: StaticString) -> Column { Column(title: title, isNumber: true) }
    }

    /// Begins a section with a table.
    ///
    /// - Parameters:
    ///   - identifier: What the elements are called, so that the script finds them again.
    ///   - title: The section's heading.
    ///   - note: How much of what there is.
    ///   - columns: The columns.
    ///   - html: Where to write.
    init(
        _ identifier: StaticString, title: StaticString, note: String, columns: [Column], to html: HTMLWriter
    ) {
        self.html = html
        self.columns = columns
        let id = identifier
        self.html.markup("<section aria-labelledby=\"")
        self.html.markup(id)
        self.html.markup("-title\"><div class=\"wide\"><table class=\"")
        self.html.markup(id)
        self.html.markup("\"><caption><h2 id=\"")
        self.html.markup(id)
        self.html.markup("-title\">")
        self.html.markup(title)
        self.html.markup("<span class=\"of\" id=\"")
        self.html.markup(id)
        self.html.markup("-note\" data-live>")
        self.html.text(note)
        self.html.markup("</span></h2></caption>\n<thead><tr>")
        for column in columns {
            self.html.markup("<th scope=\"col\"")
            if column.isNumber { self.html.markup(" class=\"number\"") }
            self.html.markup(">")
            self.html.markup(column.title)
            self.html.markup("</th>")
        }
        self.html.markup("</tr></thead>\n<tbody id=\"")
        self.html.markup(id)
        self.html.markup("-rows\" data-live>")
    }

    /// Begins a row with the cell that names it.
    mutating func row(_ write: (inout HTMLWriter) -> Void) {
        next = 1
        html.markup("<tr><th scope=\"row\">")
        write(&html)
        html.markup("</th>")
    }

    /// Writes the row's next cell.
    mutating func cell(_ write: (inout HTMLWriter) -> Void) {
        let column = columns[min(next, columns.count - 1)]
        next += 1
        html.markup("<td data-label=\"")
        html.markup(column.title)
        html.markup(column.isNumber ? "\" class=\"number\"><span>" : "\"><span>")
        write(&html)
        html.markup("</span></td>")
    }

    mutating func cell(_ text: String) {
        cell { $0.text(text) }
    }

    mutating func endRow() {
        html.markup("</tr>\n")
    }

    /// A row that says why there are no others, or no more.
    mutating func remark(_ text: String) {
        html.markup("<tr><td class=\"none\" colspan=\"")
        html.text("\(columns.count)")
        html.markup("\"><span>")
        html.text(text)
        html.markup("</span></td></tr>\n")
    }

    /// Ends the table and its section.
    ///
    /// - Returns: What has been written.
    consuming func end() -> HTMLWriter {
        html.markup("</tbody></table></div></section>\n")
        return html
    }
}
