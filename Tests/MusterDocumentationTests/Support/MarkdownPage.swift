// SPDX-License-Identifier: Apache-2.0

/// What the tests need to know of a page in Markdown.
struct MarkdownPage {
    /// A fenced block.
    struct CodeBlock: Equatable {
        /// What stands behind the fence.
        let language: String
        /// The lines between the fences.
        let text: String
        /// The file that it is, named by a line such as "File `name`:" before it.
        let file: String?
        /// The line of its opening fence, from 1.
        let line: Int
    }

    /// Something that another page, a file or an address is linked by.
    struct Link: Equatable {
        let target: String
        let line: Int
    }

    private(set) var blocks: [CodeBlock] = []
    private(set) var links: [Link] = []
    private(set) var anchors: Set<String> = []
    /// The cells of each row of its tables, headers included, without the lines between header and rows.
    private(set) var rows: [[String]] = []

    init(_ text: String) {
        var fence: (mark: String, language: String, file: String?, line: Int, lines: [Substring])?
        var file: String?
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let trimmed = line.drop { $0 == " " }
            if let open = fence {
                if trimmed == open.mark {
                    let text = open.lines.joined(separator: "\n")
                    blocks.append(CodeBlock(language: open.language, text: text, file: open.file, line: open.line))
                    fence = nil
                } else {
                    fence?.lines.append(line)
                }
            } else if trimmed.hasPrefix("```") {
                let mark = String(trimmed.prefix { $0 == "`" })
                fence = (mark, String(trimmed.dropFirst(mark.count)), file, index + 1, [])
                file = nil
            } else {
                read(line, number: index + 1)
                if let named = line.wholeMatch(of: /File `([^`]+)`:/) {
                    file = String(named.1)
                } else if !line.isEmpty {
                    file = nil
                }
            }
        }
    }

    private mutating func read(_ line: Substring, number: Int) {
        if line.hasPrefix("#"), let heading = line.wholeMatch(of: /#{1,6} +(.*?)/) { addAnchor(String(heading.1)) }
        let hasTags = line.utf8.contains(UInt8(ascii: "<"))
        if hasTags || line.utf8.contains(UInt8(ascii: "]")) {
            let text = Self.withoutCode(line)
            for link in text.matches(of: /\]\(([^)\s]+)\)/) {
                links.append(Link(target: String(link.1), line: number))
            }
            for tag in text.matches(of: /(src|srcset|href|id|name)="([^"]+)"/) {
                if ["id", "name"].contains(tag.1) {
                    anchors.insert(String(tag.2))
                } else {
                    links.append(Link(target: String(tag.2), line: number))
                }
            }
        }
        guard line.hasPrefix("|"), line.contains(where: \.isLetter) else { return }
        let cells = line.replacing("\\|", with: "\u{1}").split(separator: "|", omittingEmptySubsequences: false)
        rows.append(
            cells.dropFirst().dropLast().map { cell in
                String(cell.replacing("\u{1}", with: "|")).trimmed
            })
    }

    /// The line with what is in backquotes left out.
    private static func withoutCode(_ line: Substring) -> String {
        let pieces = line.split(separator: "`", omittingEmptySubsequences: false)
        return pieces.enumerated().filter { $0.offset.isMultiple(of: 2) }.map { String($0.element) }.joined()
    }

    /// Adds the anchor of a heading, as GitHub makes it.
    private mutating func addAnchor(_ heading: String) {
        let shown = heading.replacing(/\[([^\]]*)\]\([^)]*\)/) { $0.1 }
        let slug = String(
            shown.lowercased().compactMap { character -> Character? in
                if character == " " { return "-" }
                return character.isLetter || character.isNumber || "-_".contains(character) ? character : nil
            })
        var name = slug
        var count = 0
        while !anchors.insert(name).inserted {
            count += 1
            name = "\(slug)-\(count)"
        }
    }
}

extension String {
    /// Without the spaces around it.
    var trimmed: String { String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()) }
}
