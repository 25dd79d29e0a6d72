// SPDX-License-Identifier: Apache-2.0

import Configuration
public import Muster

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
