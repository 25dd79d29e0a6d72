// SPDX-License-Identifier: Apache-2.0

import Configuration
import FoundationEssentials
import MusterPlatform

/// A JSON file with settings: what stands where in it, and what is wrong with it. The program and `muster check` judge it
/// alike.
package struct SettingsFile: Sendable {
    /// A setting whose value has another type than it can be read from, or that stands in a group that is lost.
    package struct Problem: Sendable {
        package let line: Int
        package let text: String
        /// What is wrong with the setting; `nil` for a group.
        package let error: SettingsError?
    }

    /// What a file says, whatever its layout, or why it cannot be read.
    enum Content: Hashable, Sendable {
        case settings([String: [String]])
        case unusable(String)

        /// Reads a file.
        init(of path: String) {
            do throws(SettingsFileError) {
                self = try SettingsFile(reading: path).content
            } catch {
                self = .unusable("\(error)")
            }
        }
    }

    package let path: String
    package let outline: JSONOutline

    var content: Content {
        .settings(outline.leaves.reduce(into: [:]) { $0[$1.path, default: []] += [$1.kind.rawValue, $1.value] })
    }

    /// Reads a file.
    package init(reading path: String) throws(SettingsFileError) {
        let bytes: [UInt8]
        do throws(SmallFile.Failure) {
            // A named pipe would be waited for, at a reload by the supervisor.
            bytes = try SmallFile.read(path, mustBeRegular: true)
        } catch {
            throw SettingsFileError(
                path: path, line: nil, reason: "cannot be read: \(error.reason); check the path of the settings file")
        }
        try self.init(bytes, path: path)
    }

    init(_ bytes: [UInt8], path: String) throws(SettingsFileError) {
        self.path = path
        guard !bytes.starts(with: [0xEF, 0xBB, 0xBF]) else {
            throw SettingsFileError(
                path: path, line: 1, reason: "begins with a byte order mark; save it as UTF-8 without one")
        }
        guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else {
            throw SettingsFileError(path: path, line: nil, reason: "is not UTF-8; save it as UTF-8")
        }
        do throws(JSONOutline.Problem) {
            outline = try JSONOutline(text)
        } catch {
            throw SettingsFileError(path: path, line: error.line, reason: "is not JSON: expected \(error.expected)")
        }
    }

    /// What keeps the program from starting.
    package var problems: [Problem] {
        let groups = outline.repeatedObjects.filter { Self.isOurs($0.path) }.map { group in
            Problem(
                line: group.line,
                text: """
                    '\(group.path)' appears twice, first in line \(group.first), of which nothing would be read; join them
                    """, error: nil)
        }
        return groups
            + outline.leaves.compactMap { leaf in
                guard let setting = MusterSettings.table.first(where: { $0.key == leaf.path }),
                    !setting.kinds.contains(leaf.kind)
                else { return nil }
                let error = SettingsError(key: leaf.path, value: leaf.value, expected: setting.syntax)
                return Problem(line: leaf.line, text: "\(error)", error: error)
            }
    }

    /// Its settings, as they were when it was read.
    var provider: any ConfigProvider {
        let keys = Set(MusterSettings.table.map(\.key))
        let pairs = outline.leaves.filter { keys.contains($0.path) }.map { leaf in
            (AbsoluteConfigKey(ConfigKey(leaf.path)), ConfigValue(.string(leaf.value), isSecret: false))
        }
        return InMemoryProvider(name: path, values: Dictionary(pairs, uniquingKeysWith: { $1 }))
    }

    /// What looks like a setting, and is none.
    package var unknown: [UnknownSetting] {
        let keys = MusterSettings.table.map(\.key)
        return outline.leaves.filter { Self.isOurs($0.path) && !keys.contains($0.path) }.map { leaf in
            UnknownSetting(
                name: leaf.path, source: path, line: leaf.line, nearest: NearestName.find(leaf.path, among: keys))
        }
    }

    /// The line of a setting; `nil` when it is not there.
    package func line(of key: String) -> Int? { outline.leaves.last { $0.path == key }?.line }

    /// Other keys are the application's own.
    private static func isOurs(_ path: String) -> Bool {
        let path = path.lowercased()
        return path == "muster" || path.hasPrefix("muster.")
    }
}

/// Why a settings file cannot be used.
package struct SettingsFileError: Error, Hashable, Sendable, CustomStringConvertible {
    package let path: String
    /// The line, from 1 on; `nil` for the file as a whole.
    package let line: Int?
    /// What is wrong, and what to do.
    package let reason: String

    package var description: String { "\(path)\(line.map { ":\($0)" } ?? ""): \(reason)" }
}

/// The keys of a JSON document with the lines they stand in, which decoders do not tell.
package struct JSONOutline: Sendable {
    /// What a value is.
    package enum Kind: String, Hashable, Sendable {
        case text = "a text"
        case number = "a number"
        case boolean = "true or false"
        case null
        case array = "an array"
    }

    /// A key that has a value other than an object.
    package struct Leaf: Hashable, Sendable {
        /// The keys from the outermost object down, joined by dots.
        package let path: String
        /// The line of the key, from 1 on.
        package let line: Int
        package let kind: Kind
        /// A text without its quotes and escapes, a number in its plainest form, an array without space
        /// between its parts, anything else as it stands there.
        package let value: String
    }

    /// Where a document is no JSON.
    package struct Problem: Error, Hashable, Sendable {
        /// The line, from 1 on.
        package let line: Int
        /// What was expected there.
        package let expected: String

        package init(line: Int, expected: String) {
            self.line = line
            self.expected = expected
        }
    }

    /// The leaves in the document's order.
    package private(set) var leaves: [Leaf] = []
    /// Objects that stand twice, with the lines of both: of the first nothing is read.
    package private(set) var repeatedObjects: [(path: String, line: Int, first: Int)] = []

    private let bytes: [UInt8]
    private var position = 0
    private var line = 1
    private static let deepest = 128

    /// Reads a document, whose outermost value has to be an object.
    package init(_ text: String) throws(Problem) {
        bytes = Array(text.utf8)
        skipSpace()
        guard next == UInt8(ascii: "{") else { throw problem("'{', as settings are an object") }
        try object([])
        skipSpace()
        guard next == nil else { throw problem("nothing more after the object") }
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private func problem(_ expected: String) -> Problem { Problem(line: line, expected: expected) }

    private mutating func skipSpace() {
        while let byte = next, [0x20, 0x09, 0x0A, 0x0D].contains(byte) {
            if byte == 0x0A { line += 1 }
            position += 1
        }
    }

    private mutating func take(_ character: Character) -> Bool {
        skipSpace()
        guard next == character.asciiValue else { return false }
        position += 1
        return true
    }

    private mutating func object(_ path: [String]) throws(Problem) {
        guard path.count < Self.deepest else { throw problem("fewer levels than \(Self.deepest)") }
        _ = take("{")
        if take("}") { return }
        var objects: [String: Int] = [:]
        repeat {
            skipSpace()
            let start = line
            let key = try string("a key in double quotes")
            guard take(":") else { throw problem("':' after the key '\(key)'") }
            skipSpace()
            let name = (path + [key]).joined(separator: ".")
            if next == UInt8(ascii: "{") {
                if let first = objects.updateValue(start, forKey: key) {
                    repeatedObjects.append((name, start, first))
                }
                try object(path + [key])
            } else {
                let begin = position
                let kind = try value(depth: path.count + 1)
                let value = Self.plain(String(decoding: bytes[begin..<position], as: UTF8.self), kind)
                leaves.append(Leaf(path: name, line: start, kind: kind, value: value))
            }
        } while take(",")
        guard take("}") else { throw problem("',' or '}'") }
    }

    private static func plain(_ text: String, _ kind: Kind) -> String {
        switch kind {
        case .text: text.contains("\\") ? unescaped(text) : String(text.dropFirst().dropLast())
        case .number: Double(text).flatMap { Int(exactly: $0) }.map(String.init) ?? text
        case .array: withoutSpace(text)
        case .boolean, .null: text
        }
    }

    /// A value without the space between its parts.
    private static func withoutSpace(_ text: String) -> String {
        var (isText, isEscaped) = (false, false)
        let bytes = text.utf8.filter { byte in
            if isEscaped {
                isEscaped = false
            } else if byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if byte == UInt8(ascii: "\"") {
                isText.toggle()
            }
            return isText || ![0x20, 0x09, 0x0A, 0x0D].contains(byte)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// A text in quotes; as it stands there if its escapes are none.
    private static func unescaped(_ text: String) -> String {
        (try? JSONDecoder().decode(String.self, from: Data(text.utf8))) ?? text
    }

    private mutating func value(depth: Int) throws(Problem) -> Kind {
        skipSpace()
        guard depth < Self.deepest else { throw problem("fewer levels than \(Self.deepest)") }
        switch next {
        case UInt8(ascii: "\""):
            _ = try string("a text")
            return .text
        case UInt8(ascii: "["):
            position += 1
            if take("]") { return .array }
            repeat { _ = try value(depth: depth + 1) } while take(",")
            guard take("]") else { throw problem("',' or ']'") }
            return .array
        case UInt8(ascii: "{"):
            // In an array: its keys are nobody's settings.
            let outer = leaves
            try object(Array(repeating: "", count: depth))
            leaves = outer
            return .array
        default:
            return try word()
        }
    }

    private mutating func word() throws(Problem) -> Kind {
        let start = position
        while let byte = next, byte > 0x20, ![UInt8(ascii: ","), 0x5D, 0x7D].contains(byte) { position += 1 }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        let isNumber =
            Double(text) != nil && text.utf8.allSatisfy { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
        switch text {
        case "true", "false": return .boolean
        case "null": return .null
        default:
            guard isNumber else { throw problem("a value") }
            return .number
        }
    }

    private mutating func string(_ expected: String) throws(Problem) -> String {
        guard next == UInt8(ascii: "\"") else { throw problem(expected) }
        position += 1
        let start = position
        while let byte = next, byte != UInt8(ascii: "\"") {
            guard byte != 0x0A else { break }
            position += byte == UInt8(ascii: "\\") ? 2 : 1
        }
        guard next == UInt8(ascii: "\"") else { throw problem("a '\"' at the text's end") }
        defer { position += 1 }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }
}

/// A name in the form of Muster's settings that is none of them. The program and `muster check` say the same of it.
package struct UnknownSetting: Hashable, Sendable {
    package let name: String
    /// The file, or `environment`, or `arguments`.
    package let source: String
    package var line: Int?
    /// The setting that may have been meant.
    package let nearest: String?
    /// Whether the application may have names of that form of its own, as it has in environment and arguments.
    package var isShared = false

    /// Whether it is worth a warning.
    package var isLikelyMistake: Bool { nearest != nil || !isShared }

    /// What is wrong. It has no value in it, which may be a secret.
    package var problem: String {
        if let nearest { return "'\(name)' is not a setting; did you mean '\(nearest)'?" }
        return "'\(name)' is not a setting of Muster\(isShared ? "; only the application may read it" : "")"
    }

    /// Those of the environment.
    package static func of(variables: some Sequence<String>) -> [UnknownSetting] {
        let names = variables.filter {
            $0.hasPrefix("MUSTER_") && SettingNames.variables[$0] == nil && !SettingNames.otherVariables.contains($0)
        }
        return names.sorted().map { name in
            UnknownSetting(
                name: name, source: "environment",
                nearest: NearestName.find(name, among: SettingNames.variables.keys), isShared: true)
        }
    }

    /// Those of the arguments.
    package static func of(arguments: some Sequence<String>) -> [UnknownSetting] {
        arguments.map { String($0.prefix { $0 != "=" }) }
            .filter { $0.hasPrefix("--muster-") && SettingNames.arguments[$0] == nil }
            .map { name in
                UnknownSetting(
                    name: name, source: "arguments",
                    nearest: NearestName.find(name, among: SettingNames.arguments.keys), isShared: true)
            }
    }
}

/// The names of the settings: in a file, and outside it with the keys.
package enum SettingNames {
    package static let keys = MusterSettings.table.map(\.key)
    package static let variables = Dictionary(uniqueKeysWithValues: MusterSettings.table.map { ($0.variable, $0.key) })
    package static let arguments = Dictionary(uniqueKeysWithValues: MusterSettings.table.map { ($0.argument, $0.key) })

    /// Variables with the prefix that are not settings: those of the demo and of the command line.
    fileprivate static let otherVariables: Set<String> = ["MUSTER_BACKEND", "MUSTER_URL", "MUSTER_PASSWORD"]
}

/// Finds what somebody may have meant.
package enum NearestName {
    /// The name that is nearest to a text, if one is near enough to be meant by it.
    package static func find(_ text: String, among names: some Sequence<String>) -> String? {
        let limit = max(1, min(4, text.count / 4))
        var best: (name: String, distance: Int)?
        for name in names.sorted() where abs(name.count - text.count) <= limit {
            let distance = distance(Array(text.unicodeScalars), Array(name.unicodeScalars))
            if distance <= limit, distance < best?.distance ?? .max { best = (name, distance) }
        }
        return best?.name
    }

    /// How many single changes make one text the other: a character more, less, another one, or two that have
    /// changed places (optimal string alignment).
    static func distance(_ one: [Unicode.Scalar], _ other: [Unicode.Scalar]) -> Int {
        var beforeLast: [Int] = []
        var last = Array(0...other.count)
        for (row, scalar) in one.enumerated() {
            var current = [row + 1]
            for (column, candidate) in other.enumerated() {
                var cost = min(last[column + 1] + 1, current[column] + 1, last[column] + (scalar == candidate ? 0 : 1))
                if row > 0, column > 0, scalar == other[column - 1], one[row - 1] == candidate {
                    cost = min(cost, beforeLast[column - 1] + 1)
                }
                current.append(cost)
            }
            (beforeLast, last) = (last, current)
        }
        return last[other.count]
    }
}
