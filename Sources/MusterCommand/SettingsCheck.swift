// SPDX-License-Identifier: Apache-2.0

import Configuration
public import Muster
import MusterEndpoint
import MusterHealth
import MusterPlatform
import MusterSupervision

/// Reads settings as a program would at its start, and goes on past what is wrong with them.
public struct SettingsCheck: Sendable {
    /// What was found.
    public private(set) var findings: [Finding] = []
    /// The settings, with the defaults in the place of what could not be used.
    public private(set) var settings = MusterSettings()

    private let input: SettingsInput
    private var places: [String: Finding.Place] = [:]

    /// Checks settings.
    ///
    /// - Parameters:
    ///   - input: Where they are read from.
    ///   - read: Reads a text file; the reason when it cannot be read.
    public init(_ input: SettingsInput, read: (String) -> Result<String, ReadFailure>) {
        self.input = input
        checkVariables()
        checkArguments()
        let arguments = CommandLineArgumentsProvider(arguments: ["program"] + input.arguments)
        let environment = EnvironmentVariablesProvider(environmentVariables: input.environment.mapValues(\.value))
        let named = input.file ?? Self.fileNamed(by: [arguments, environment])
        var file = named
        if let path = named, !checkFile(path, read) { file = nil }
        // The file was read a moment ago, so that this is the error of one who reads it now.
        var providers: [any ConfigProvider] = [arguments, environment]
        do {
            if file != nil {
                providers = try MusterSettings.sources(arguments: arguments, environment: environment, file: file)
                    .providers
            }
        } catch {
            findings.append(Finding(.error, Finding.Place(file ?? "settings"), "cannot be read: \(error)"))
        }
        readSettings(providers)
        settings.endpoint?.addressSetting = "'muster.endpoint.address'"
    }

    private static func fileNamed(by providers: [any ConfigProvider]) -> String? {
        ConfigReader(providers: providers).string(forKey: ConfigKey(MusterSettings.fileKey))
    }

    /// Where a setting was set; `nil` for one that has its default.
    ///
    /// - Parameter key: The setting's key.
    public func place(of key: String) -> Finding.Place? { places[key] }

    // MARK: Values

    /// Reads until nothing is wrong any more: what is wrong is told and left out the next time.
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

    private mutating func checkVariables() {
        for (name, variable) in input.environment.sorted(by: { $0.key < $1.key }) where name.hasPrefix("MUSTER_") {
            if let key = SettingNames.byVariable[name] {
                places[key] = variable.place
            } else if !SettingNames.otherVariables.contains(name) {
                unknown(
                    name, at: variable.place, nearest: NearestName.find(name, among: SettingNames.byVariable.keys),
                    isShared: true)
            }
        }
    }

    private mutating func checkArguments() {
        for argument in input.arguments where argument.hasPrefix("--muster-") {
            let name = String(argument.prefix { $0 != "=" })
            if let key = SettingNames.byArgument[name] {
                places[key] = input.argumentsPlace
            } else {
                unknown(
                    name, at: input.argumentsPlace,
                    nearest: NearestName.find(name, among: SettingNames.byArgument.keys), isShared: true)
            }
        }
    }

    /// Checks the file's form and names; false if it cannot be used.
    private mutating func checkFile(_ path: String, _ read: (String) -> Result<String, ReadFailure>) -> Bool {
        switch read(path) {
        case .failure(let failure):
            findings.append(Finding(.error, Finding.Place(path), "\(failure); correct the path of the settings' file"))
            return false
        case .success(let text):
            do throws(JSONOutline.Problem) {
                checkNames(try JSONOutline(text), path)
                return true
            } catch {
                findings.append(
                    Finding(
                        .error, Finding.Place(path, line: error.line), "is no JSON: expected \(error.expected)"))
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
                    Finding(.warning, place, "'\(leaf.path)' is there twice, first in line \(first); keep one of them"))
            }
            if SettingNames.keys.contains(leaf.path) {
                if places[leaf.path] == nil { places[leaf.path] = place }
            } else {
                unknown(leaf.path, at: place, nearest: NearestName.find(leaf.path, among: SettingNames.keys))
            }
        }
    }

    /// Tells of a name that nobody reads.
    ///
    /// - Parameter isShared: Whether an application may well have names of that form of its own.
    private mutating func unknown(
        _ name: String, at place: Finding.Place, nearest: String?, isShared: Bool = false
    ) {
        if let nearest {
            findings.append(Finding(.warning, place, "'\(name)' is no setting; did you mean '\(nearest)'?"))
        } else {
            findings.append(
                Finding(
                    isShared ? .note : .warning, place,
                    "'\(name)' is no setting of Muster's\(isShared ? "; only the application itself may know it" : "")")
            )
        }
    }
}

/// What a program would read its settings from, with the places to name in findings.
public struct SettingsInput: Sendable {
    /// A variable of the environment.
    public struct Variable: Hashable, Sendable {
        /// Its value.
        public var value: String
        /// Where it was set.
        public var place: Finding.Place

        /// Names a variable's value and place.
        ///
        /// - Parameters:
        ///   - value: Its value.
        ///   - place: Where it was set.
        public init(_ value: String, at place: Finding.Place) {
            self.value = value
            self.place = place
        }
    }

    /// The arguments, without the program's name.
    public var arguments: [String]
    /// Where the arguments were found.
    public var argumentsPlace: Finding.Place
    /// The environment.
    public var environment: [String: Variable]
    /// The JSON file; when `nil`, the one that the other two name, if any.
    public var file: String?

    /// Creates an input.
    ///
    /// - Parameters:
    ///   - arguments: The arguments, without the program's name.
    ///   - argumentsPlace: Where they were found.
    ///   - environment: The environment.
    ///   - file: The JSON file; when `nil`, the one that the other two name, if any.
    public init(
        arguments: [String] = [], argumentsPlace: Finding.Place = Finding.Place("arguments"),
        environment: [String: Variable] = [:], file: String? = nil
    ) {
        self.arguments = arguments
        self.argumentsPlace = argumentsPlace
        self.environment = environment
        self.file = file
    }

    /// An environment of which only the values are known, as that of this process.
    ///
    /// - Parameter values: The values by name.
    public static func environment(_ values: [String: String]) -> [String: Variable] {
        values.mapValues { Variable($0, at: Finding.Place("environment")) }
    }
}

/// What of settings that are right by themselves does not go together.
enum SettingsRelations {
    static func findings(_ check: SettingsCheck) -> [Finding] {
        let settings = check.settings
        func place(_ keys: String...) -> Finding.Place? { keys.lazy.compactMap { check.place(of: $0) }.first }
        var findings: [Finding] = []
        func add(_ severity: Finding.Severity, _ place: Finding.Place?, _ message: String) {
            // What nobody has set has been thought about.
            if let place { findings.append(Finding(severity, place, message)) }
        }
        let backoff = settings.restartBackoff
        if backoff.maximum < backoff.base {
            add(
                .warning, place("muster.restart-backoff.maximum", "muster.restart-backoff.base"),
                """
                muster.restart-backoff.maximum (\(backoff.maximum.text)) is below muster.restart-backoff.base \
                (\(backoff.base.text)), so that every delay is the maximum; set it to more
                """)
        }
        if settings.abortGrace < .seconds(1) {
            add(
                .warning, place("muster.abort-grace"),
                """
                muster.abort-grace (\(settings.abortGrace.text)) ends a hung or crashed worker before it has written \
                its backtraces, which takes some 0.7 s with debug information; set it to 5s or more
                """)
        }
        if settings.livenessLimit < .milliseconds(500) {
            add(
                .warning, place("muster.liveness-limit"),
                """
                muster.liveness-limit (\(settings.livenessLimit.text)) takes a short stall of a busy machine for a \
                hang; set it to 1s or more
                """)
        }
        if settings.startupTimeout > .zero, settings.startupTimeout < .seconds(1) {
            add(
                .warning, place("muster.startup-timeout"),
                """
                muster.startup-timeout (\(settings.startupTimeout.text)) ends workers that start slowly on a busy \
                machine; set it to 5s or more
                """)
        }
        if settings.gracefulShutdownTimeout == .zero {
            add(
                .note, place("muster.graceful-shutdown-timeout"),
                "muster.graceful-shutdown-timeout is 0: a service that does not stop keeps the program for ever")
        }
        if settings.startupTimeout == .zero {
            add(
                .note, place("muster.startup-timeout"),
                "muster.startup-timeout is 0: a worker that hangs while it starts is never replaced")
        }
        if settings.restartIntensity == nil {
            let ignored = place("muster.restart-intensity.when-exceeded", "muster.restart-intensity.period")
            add(
                .note, ignored,
                "has no effect, as muster.restart-intensity.maximum is 0: any number of restarts is put up with")
        }
        return findings + endpoint(check)
    }

    private static func endpoint(_ check: SettingsCheck) -> [Finding] {
        let place = check.place(of: "muster.endpoint.address") ?? Finding.Place("settings")
        guard let endpoint = check.settings.endpoint else {
            return [Finding(.note, place, "the endpoint is off: there are no metrics and no probes")]
        }
        guard endpoint.webConfigFile == nil,
            case .tcp(let host, _) = endpoint.address, !isLoopback(host)
        else { return [] }
        return [
            Finding(
                .note, place,
                """
                whoever reaches \(endpoint.address) can read metrics and status; set muster.endpoint.web-config-file \
                for TLS and passwords
                """)
        ]
    }

    private static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }
}

/// The settings that there are, asked of the code that reads them.
enum SettingNames {
    /// The keys, `muster.liveness-limit` and so on.
    static let keys: Set<String> = {
        let record = AccessRecord()
        let config = ConfigReader(provider: InMemoryProvider(values: [:]), accessReporter: record)
        // Nothing set is nothing wrong.
        _ = try? MusterSettings(config: config)
        return record.keys.union([MusterSettings.fileKey])
    }()

    /// The keys by the name of their variable, `MUSTER_LIVENESS_LIMIT`.
    static let byVariable = Dictionary(uniqueKeysWithValues: keys.map { (variable($0), $0) })

    /// The keys by their argument, `--muster-liveness-limit`.
    static let byArgument = Dictionary(uniqueKeysWithValues: keys.map { (argument($0), $0) })

    /// Variables of that prefix that are no settings: what the demo's hook, the supervisor and this program use.
    static let otherVariables: Set<String> = [
        "MUSTER_BACKEND", "MUSTER_URL", "MUSTER_PASSWORD",
    ]

    static func variable(_ key: String) -> String {
        String(key.map { $0 == "." || $0 == "-" ? "_" : Character($0.uppercased()) })
    }

    static func argument(_ key: String) -> String { "--" + String(key.map { $0 == "." ? "-" : $0 }) }
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
