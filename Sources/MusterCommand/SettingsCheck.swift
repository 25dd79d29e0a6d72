// SPDX-License-Identifier: Apache-2.0

import Configuration
import Muster
import MusterEndpoint
import MusterHealth
import MusterPlatform
import MusterSupervision

/// Reads settings as a program would at its start, but collects all errors instead of stopping at the first.
struct SettingsCheck: Sendable {
    /// What was found.
    private(set) var findings: [Finding] = []
    /// The settings, with defaults for the values that could not be used.
    private(set) var settings = MusterSettings()

    private var places: [String: Finding.Place] = [:]

    /// Checks settings.
    ///
    /// - Parameters:
    ///   - arguments: The arguments, without the program's name.
    ///   - environment: The environment.
    ///   - file: The JSON file; when `nil`, the one that the other two name, if any.
    ///   - read: Reads a text file.
    init(
        arguments: [String], environment: [String: String], file: String?,
        read: (String) -> Result<String, ReadFailure>
    ) {
        check(variables: environment.keys)
        check(arguments: arguments)
        let arguments = CommandLineArgumentsProvider(arguments: ["program"] + arguments)
        let environment = EnvironmentVariablesProvider(environmentVariables: environment)
        var providers: [any ConfigProvider] = [arguments, environment]
        if let file = file ?? Self.fileNamed(by: providers), checkFile(file, read) {
            do {
                providers = try MusterSettings.sources(arguments: arguments, environment: environment, file: file)
                    .providers
            } catch {
                findings.append(Finding(.error, Finding.Place(file), "cannot be read: \(error)"))
            }
        }
        readSettings(providers)
        settings.endpoint?.addressSetting = "'muster.endpoint.address'"
        advise()
    }

    /// Adds advice about settings that were set, but not about defaults.
    private mutating func advise() {
        for setting in MusterSettings.table {
            guard let advice = setting.advice(settings),
                let place = ([setting.key] + setting.related).compactMap({ places[$0] }).first
            else { continue }
            switch advice {
            case .warning(let text): findings.append(Finding(.warning, place, text))
            case .note(let text): findings.append(Finding(.note, place, text))
            }
        }
    }

    private static func fileNamed(by providers: [any ConfigProvider]) -> String? {
        ConfigReader(providers: providers).string(forKey: ConfigKey(MusterSettings.fileKey))
    }

    /// Where a setting was set; `nil` for one that has its default.
    func place(of key: String) -> Finding.Place? { places[key] }

    // MARK: Values

    /// Reads until there is no error: a setting with an error is left out the next time.
    private mutating func readSettings(_ providers: [any ConfigProvider]) {
        var bad: Set<String> = []
        while true {
            do throws(SettingsError) {
                settings = try MusterSettings(config: ConfigReader(providers: providers.map { Self.hide(bad, in: $0) }))
                return
            } catch {
                findings.append(
                    Finding(.error, places[error.key] ?? Finding.Place("settings"), "\(error)"))
                guard bad.insert(error.key).inserted else { return }
            }
        }
    }

    private static func hide(_ keys: Set<String>, in provider: some ConfigProvider) -> any ConfigProvider {
        provider.mapKeys { key in
            guard keys.contains(key.components.joined(separator: ".")) else { return key }
            return AbsoluteConfigKey(ConfigKey("muster.check.left-out"))
        }
    }

    // MARK: Names

    private mutating func check(variables: some Sequence<String>) {
        let place = Finding.Place("environment")
        for name in variables.sorted() where name.hasPrefix("MUSTER_") {
            if let key = SettingNames.variables[name] {
                places[key] = place
            } else if !SettingNames.otherVariables.contains(name) {
                addUnknown(name, at: place, names: SettingNames.variables.keys, isShared: true)
            }
        }
    }

    private mutating func check(arguments: [String]) {
        let place = Finding.Place("arguments")
        for argument in arguments where argument.hasPrefix("--muster-") {
            let name = String(argument.prefix { $0 != "=" })
            if let key = SettingNames.arguments[name] {
                places[key] = place
            } else {
                addUnknown(name, at: place, names: SettingNames.arguments.keys, isShared: true)
            }
        }
    }

    /// Checks the file's form and names; false if it cannot be used.
    private mutating func checkFile(_ path: String, _ read: (String) -> Result<String, ReadFailure>) -> Bool {
        switch read(path) {
        case .failure(let failure):
            findings.append(Finding(.error, Finding.Place(path), "\(failure); check the path of the settings file"))
            return false
        case .success(let text):
            do throws(JSONOutline.Problem) {
                checkNames(try JSONOutline(text), path)
                return true
            } catch {
                findings.append(
                    Finding(
                        .error, Finding.Place(path, line: error.line), "is not JSON: expected \(error.expected)"))
                return false
            }
        }
    }

    private mutating func checkNames(_ outline: JSONOutline, _ path: String) {
        var lines: [String: Int] = [:]
        // Other keys are the application's own.
        for leaf in outline.leaves where leaf.path == "muster" || leaf.path.hasPrefix("muster.") {
            let place = Finding.Place(path, line: leaf.line)
            if let first = lines.updateValue(leaf.line, forKey: leaf.path) {
                findings.append(
                    Finding(.warning, place, "'\(leaf.path)' appears twice, first in line \(first); keep one of them"))
            }
            if SettingNames.keys.contains(leaf.path) {
                if places[leaf.path] == nil { places[leaf.path] = place }
            } else {
                addUnknown(leaf.path, at: place, names: SettingNames.keys)
            }
        }
    }

    /// Adds a finding about a name that is not a setting.
    ///
    /// - Parameter isShared: Whether the application may have names of that form of its own.
    private mutating func addUnknown(
        _ name: String, at place: Finding.Place, names: some Sequence<String>, isShared: Bool = false
    ) {
        if let nearest = NearestName.find(name, among: names) {
            findings.append(Finding(.warning, place, "'\(name)' is not a setting; did you mean '\(nearest)'?"))
        } else if isShared {
            findings.append(
                Finding(.note, place, "'\(name)' is not a setting of Muster; only the application may read it"))
        } else {
            findings.append(Finding(.warning, place, "'\(name)' is not a setting of Muster"))
        }
    }
}

/// The names of the settings.
enum SettingNames {
    static let keys = MusterSettings.table.map(\.key)
    static let variables = Dictionary(uniqueKeysWithValues: MusterSettings.table.map { ($0.variable, $0.key) })
    static let arguments = Dictionary(uniqueKeysWithValues: MusterSettings.table.map { ($0.argument, $0.key) })

    /// Variables with the prefix that are not settings: those of the demo and of this program.
    static let otherVariables: Set<String> = ["MUSTER_BACKEND", "MUSTER_URL", "MUSTER_PASSWORD"]
}

/// The keys of a JSON document with the lines they stand in, which decoders do not tell.
struct JSONOutline: Hashable, Sendable {
    /// A key that has a value other than an object.
    struct Leaf: Hashable, Sendable {
        /// The keys from the outermost object down, joined by dots.
        let path: String
        /// The line of the key, from 1 on.
        let line: Int
    }

    /// Where a document is no JSON.
    struct Problem: Error, Hashable, Sendable {
        /// The line, from 1 on.
        let line: Int
        /// What was expected there.
        let expected: String
    }

    /// The leaves in the document's order.
    private(set) var leaves: [Leaf] = []

    private let bytes: [UInt8]
    private var position = 0
    private var line = 1
    private static let deepest = 128

    /// Reads a document, whose outermost value has to be an object.
    init(_ text: String) throws(Problem) {
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
        repeat {
            skipSpace()
            let start = line
            let key = try string("a key in double quotes")
            guard take(":") else { throw problem("':' after the key '\(key)'") }
            skipSpace()
            if next == UInt8(ascii: "{") {
                try object(path + [key])
            } else {
                leaves.append(Leaf(path: (path + [key]).joined(separator: "."), line: start))
                try value(depth: path.count + 1)
            }
        } while take(",")
        guard take("}") else { throw problem("',' or '}'") }
    }

    private mutating func value(depth: Int) throws(Problem) {
        skipSpace()
        guard depth < Self.deepest else { throw problem("fewer levels than \(Self.deepest)") }
        switch next {
        case UInt8(ascii: "\""):
            _ = try string("a text")
        case UInt8(ascii: "["):
            position += 1
            if take("]") { return }
            repeat { try value(depth: depth + 1) } while take(",")
            guard take("]") else { throw problem("',' or ']'") }
        case UInt8(ascii: "{"):
            // In an array: its keys are nobody's settings.
            let outer = leaves
            try object(Array(repeating: "", count: depth))
            leaves = outer
        default:
            try word()
        }
    }

    private mutating func word() throws(Problem) {
        let start = position
        while let byte = next, byte > 0x20, ![UInt8(ascii: ","), 0x5D, 0x7D].contains(byte) { position += 1 }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        let isNumber =
            Double(text) != nil && text.utf8.allSatisfy { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
        guard ["true", "false", "null"].contains(text) || isNumber else { throw problem("a value") }
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
