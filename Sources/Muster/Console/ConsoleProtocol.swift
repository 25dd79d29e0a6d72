// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import MusterPlatform

/// How a console's command ended: the first word of a reply's last line.
package enum ConsoleStatus: String, Codable, Hashable, Sendable, CaseIterable {
    /// It was done.
    case ok
    /// It could not be done.
    case failed
    /// A worker did not answer in time; what the others answered is in the reply.
    case timeout
    /// The command does not exist, or not with these arguments.
    case usage
    /// The console does not serve this client; the connection is closed.
    case refused

    /// The exit code of a client.
    package var exitStatus: ExitStatus {
        switch self {
        case .ok: .success
        case .failed: .failure
        case .refused: ConsoleClientError.exitStatus
        case .timeout: ExitStatus(rawValue: 3)
        case .usage: ExitStatus(rawValue: 64)
        }
    }
}

/// A value in a console's table.
package enum ConsoleCell: Codable, Hashable, Sendable, ExpressibleByStringLiteral {
    case none
    case text(String)
    case number(Double)

    package init(stringLiteral value: String) { self = .text(value) }
    package init(_ text: String?) { self = text.map { .text($0) } ?? .none }
    package init(_ number: Double?) { self = number.map { .number($0) } ?? .none }
    package init(_ number: (some BinaryInteger)?) { self = number.map { .number(Double($0)) } ?? .none }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .none
        } else if let number = try? container.decode(Double.self) {
            self = .number(number)
        } else {
            self = .text(try container.decode(String.self))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .text(let text): try container.encode(text)
        case .number(let number) where number.isFinite: try container.encode(number)
        case .none, .number: try container.encodeNil()
        }
    }
}

/// Rows of what a command shows.
package struct ConsoleTable: Codable, Hashable, Sendable {
    package enum Unit: String, Codable, Hashable, Sendable {
        case plain, seconds, bytes
    }

    package struct Column: Codable, Hashable, Sendable {
        /// The key in JSON; its words in capitals, without the unit, are the heading.
        package var key: String
        package var unit = Unit.plain

        package init(_ key: String, _ unit: Unit = .plain) {
            self.key = key
            self.unit = unit
        }

        fileprivate var heading: String {
            var words = ""
            for character in key {
                if character.isUppercase { words += " " }
                words.append(character)
            }
            let text = words.uppercased()
            return text.hasSuffix(" SECONDS")
                ? String(text.dropLast(8))
                : text.hasSuffix(" BYTES") ? String(text.dropLast(6)) : text
        }

        fileprivate func text(_ cell: ConsoleCell) -> String {
            switch cell {
            case .none: return "-"
            case .text(let text): return text.isEmpty ? "-" : text.replacingControlCharacters(with: "?")
            case .number(let number):
                let text =
                    switch unit {
                    case .plain: PlainText.number(number)
                    case .seconds: PlainText.duration(number)
                    case .bytes: PlainText.bytes(number)
                    }
                return text ?? "-"
            }
        }
    }

    package var columns: [Column]
    package var rows: [[ConsoleCell]]

    package init(_ columns: [Column], rows: [[ConsoleCell]] = []) {
        self.columns = columns
        self.rows = rows
    }

    /// The heading and the rows, numbers at the right of their columns.
    var lines: [String] {
        let texts = [columns.map(\.heading)] + rows.map { row in zip(columns, row).map { $0.text($1) } }
        let isNumeric = columns.indices.map { index in
            !rows.isEmpty && rows.allSatisfy { if case .text = $0[index] { false } else { true } }
        }
        let widths = columns.indices.map { index in texts.map { $0[index].count }.max() ?? 0 }
        return texts.map { row in
            var line = ""
            for (index, text) in row.enumerated() {
                if index > 0 { line += "  " }
                let padding = String(repeating: " ", count: widths[index] - text.count)
                if isNumeric[index] {
                    line += padding + text
                } else {
                    line += index == row.count - 1 ? text : text + padding
                }
            }
            return line
        }
    }
}

/// What a command came to.
package struct ConsoleAnswer: Codable, Hashable, Sendable {
    package var status = ConsoleStatus.ok
    /// Why it failed, or what is done now.
    package var message: String?
    package var table: ConsoleTable?
    /// What is no table: metrics, stacks.
    package var lines: [String]?

    package init(_ status: ConsoleStatus = .ok, _ message: String? = nil) {
        self.status = status
        self.message = message
    }

    package init(_ table: ConsoleTable, _ message: String? = nil) {
        self.table = table
        self.message = message
    }

    package init(lines: [String]) {
        self.lines = lines
    }

    // MARK: Replies

    /// The reply as text: lines that begin with a space, and the last one, which does not.
    var text: String {
        var reply = ""
        for line in (table?.lines ?? []) + (lines ?? []) {
            reply += " \(line.replacingControlCharacters(with: "?"))\n"
        }
        reply += status.rawValue
        if let message { reply += ": \(message.replacingControlCharacters(with: "?"))" }
        return reply + "\n"
    }

    /// The reply as one line of JSON.
    var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let reply = JSONReply(
            status: status.rawValue, message: message, lines: lines,
            rows: table.map { table in
                table.rows.map { row in
                    Dictionary(zip(table.columns.map(\.key), row), uniquingKeysWith: { first, _ in first })
                }
            })
        // Numbers that are not finite are left out, and everything else can be encoded.
        guard let bytes = try? encoder.encode(reply) else { return "{\"status\":\"failed\"}\n" }
        return Self.escaped(String(decoding: bytes, as: UTF8.self)) + "\n"
    }

    /// JSON without what could change a terminal's state, which is in its strings only.
    private static func escaped(_ json: String) -> String {
        guard json.unicodeScalars.contains(where: \.isControl) else { return json }
        var result = String.UnicodeScalarView()
        for scalar in json.unicodeScalars {
            guard scalar.isControl else {
                result.append(scalar)
                continue
            }
            for unit in UTF16.encode(scalar) ?? .init() {
                let digits = String(unit, radix: 16)
                let zeros = String(repeating: "0", count: 4 - digits.count)
                result.append(contentsOf: "\\u\(zeros)\(digits)".unicodeScalars)
            }
        }
        return String(result)
    }

    private struct JSONReply: Encodable {
        var status: String
        var message: String?
        var lines: [String]?
        var rows: [[String: ConsoleCell]]?
    }

    // MARK: Between a worker and its supervisor

    var encoded: [UInt8] {
        (try? JSONEncoder().encode(self)).map { Array($0) } ?? []
    }

    /// - Throws: `DecodingError` for what is no answer.
    init(decoding bytes: [UInt8]) throws {
        self = try JSONDecoder().decode(ConsoleAnswer.self, from: Data(bytes))
        guard table.map({ table in table.rows.allSatisfy { $0.count == table.columns.count } }) ?? true else {
            throw DecodingError.dataCorrupted(.init(codingPath: [], debugDescription: "rows of different lengths"))
        }
    }
}

/// A reply as a client reads it, line by line.
package struct ConsoleReply: Sendable {
    /// How the command ended; `nil` until the last line has come.
    package private(set) var status: ConsoleStatus?
    /// What stands behind the status.
    package private(set) var message: String?
    /// The lines before the last one, without the space; in JSON, the one line there is.
    package private(set) var lines: [String] = []

    private struct JSONStatus: Decodable {
        var status: ConsoleStatus
        var message: String?
    }

    package init() {}

    /// Takes the next line, without its newline; returns whether the reply is complete.
    ///
    /// - Throws: ``ConsoleClientError`` for a line that is no console's.
    package mutating func add(_ line: String) throws(ConsoleClientError) -> Bool {
        // It goes to a terminal, and what answers need not be a console.
        let line = line.replacingControlCharacters(with: "?")
        if line.hasPrefix(" ") {
            lines.append(String(line.dropFirst()))
            return false
        }
        if line.hasPrefix("{") {
            guard let end = try? JSONDecoder().decode(JSONStatus.self, from: Data(line.utf8)) else {
                throw .notAConsole
            }
            lines = [line]
            status = end.status
            message = end.message?.replacingControlCharacters(with: "?")
            return true
        }
        let parts = line.split(separator: ":", maxSplits: 1)
        guard let first = parts.first, let status = ConsoleStatus(rawValue: String(first)) else { throw .notAConsole }
        self.status = status
        message = parts.count > 1 ? String(parts[1].drop { $0 == " " }) : nil
        return true
    }
}
