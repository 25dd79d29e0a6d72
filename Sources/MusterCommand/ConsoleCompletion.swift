// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
package import Muster
import MusterPlatform

/// What completes a line for a console, by the commands that the console has.
package struct ConsoleCompletion: Sendable {
    /// What stands at a place of a line.
    package enum Kind: Hashable, Sendable {
        case command, group, worker, target, label, level
        /// Nothing that could be completed.
        case other
    }

    private let parameters: [String: [String]]

    /// - Parameter reply: What the console has said to `commands --json`.
    package init(_ reply: ConsoleReply) {
        parameters = Dictionary(
            Self.rows(of: reply).compactMap { row in
                row["command"].map { ($0, row["arguments"]?.split(separator: " ").map(String.init) ?? []) }
            }, uniquingKeysWith: { first, _ in first })
    }

    package var commands: [String] { parameters.keys.sorted() }

    /// What the last word of the beginning of a line is.
    package func lastWord(of line: String) -> (word: String, kind: Kind) {
        // Within quotation marks nothing is completed.
        guard !line.contains("\"") else { return ("", .other) }
        var words = line.split(whereSeparator: \.isWhitespace).map(String.init)
        let word = line.last.map(\.isWhitespace) ?? true ? "" : words.removeLast()
        words.removeAll { $0 == "--json" }
        guard let command = words.first else { return (word, .command) }
        guard let parameters = parameters[command], words.count <= parameters.count else { return (word, .other) }
        switch parameters[words.count - 1].filter({ $0 != "[" && $0 != "]" }) {
        case "COMMAND": return (word, .command)
        case "GROUP": return (word, .group)
        case "WORKER": return (word, .worker)
        case "TARGET": return (word, .target)
        case "LABEL": return (word, .label)
        case "LEVEL": return (word, .level)
        default: return (word, .other)
        }
    }

    /// The commands that tell what may stand somewhere, and the column of their answers.
    package static func sources(of kind: Kind) -> [(command: String, column: String)] {
        switch kind {
        case .group: [("groups", "group")]
        case .worker: [("workers", "worker")]
        case .target: [("groups", "group"), ("workers", "worker")]
        case .label: [("log-level", "label")]
        case .command, .level, .other: []
        }
    }

    /// The texts in a column of a reply's table that can be written to a terminal.
    package static func column(_ name: String, of reply: ConsoleReply) -> [String] {
        rows(of: reply).compactMap { $0[name] }.filter { !$0.unicodeScalars.contains(where: \.isControl) }
    }

    private struct Reply: Decodable {
        struct Text: Decodable {
            let text: String?

            init(from decoder: any Decoder) throws {
                text = try? decoder.singleValueContainer().decode(String.self)
            }
        }

        var rows: [[String: Text]]?
    }

    private static func rows(of reply: ConsoleReply) -> [[String: String]] {
        let document = reply.lines.first.flatMap { try? JSONDecoder().decode(Reply.self, from: Data($0.utf8)) }
        return document?.rows?.map { $0.compactMapValues(\.text) } ?? []
    }

    /// How a word goes on.
    ///
    /// - Returns: What is to be inserted; if nothing is certain, the candidates.
    package static func complete(_ word: String, with candidates: [String]) -> (insertion: String, choices: [String]) {
        let fitting = Set(candidates.filter { $0.hasPrefix(word) && !$0.contains("\"") }).sorted()
        guard let first = fitting.first, let last = fitting.last else { return ("", []) }
        if fitting.count == 1 {
            // A name with a space in it is put into quotation marks, which have to stand before it.
            guard !first.contains(where: \.isWhitespace) else { return ("", fitting) }
            return (String(first.dropFirst(word.count)) + " ", [])
        }
        // What the first and the last have in common, all have.
        let common = zip(first, last).prefix { $0 == $1 }.count
        let insertion = String(first.prefix(common).dropFirst(word.count))
        return insertion.isEmpty || insertion.contains(where: \.isWhitespace) ? ("", fitting) : (insertion, [])
    }

    /// The candidates in columns, down and then across, as wide as a terminal.
    package static func columns(_ choices: [String], width: Int) -> [String] {
        let cell = (choices.map(\.count).max() ?? 0) + 2
        let count = max(1, width / max(1, cell))
        let height = (choices.count + count - 1) / count
        return (0..<height).map { row in
            stride(from: row, to: choices.count, by: height).map { index in
                let isLast = index + height >= choices.count
                return choices[index]
                    + (isLast ? "" : String(repeating: " ", count: cell - choices[index].count))
            }.joined()
        }
    }

    /// Where the lines that were entered are kept; `nil` where there is no place for it.
    package static func historyFile(environment: (String) -> String?) -> String? {
        // A path that is not absolute is to be ignored, says the standard.
        let folder =
            environment("XDG_STATE_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
            ?? environment("HOME").flatMap { $0.hasPrefix("/") ? $0 + "/.local/state" : nil }
        return folder.map { $0 + "/muster/console-history" }
    }
}
