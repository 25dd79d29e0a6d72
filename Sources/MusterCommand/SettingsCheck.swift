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
    /// Settings of the file that have no value which could be read.
    private var keysWithoutValue: Set<String> = []

    /// Checks settings.
    ///
    /// - Parameters:
    ///   - arguments: The arguments, without the program's name.
    ///   - environment: The environment.
    ///   - file: The JSON file; when `nil`, the one that the other two name, if any.
    init(arguments: [String], environment: [String: String], file: String?) {
        let variables = MusterSettings.withoutEmpty(environment)
        for name in variables.keys { note(SettingNames.variables[name], at: Finding.Place("environment")) }
        for argument in arguments {
            note(SettingNames.arguments[String(argument.prefix { $0 != "=" })], at: Finding.Place("arguments"))
        }
        add(UnknownSetting.of(variables: variables.keys) + UnknownSetting.of(arguments: arguments))
        let arguments = CommandLineArgumentsProvider(arguments: ["program"] + arguments)
        let environment = EnvironmentVariablesProvider(environmentVariables: variables)
        var providers: [any ConfigProvider] = [arguments, environment]
        if let file = file ?? Self.fileNamed(by: providers), checkFile(file) {
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
        var bad = keysWithoutValue
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

    private mutating func note(_ key: String?, at place: Finding.Place) {
        if let key { places[key] = place }
    }

    /// Checks the file's form and names; false if it cannot be used.
    private mutating func checkFile(_ path: String) -> Bool {
        do throws(SettingsFileError) {
            check(try SettingsFile(reading: path))
            return true
        } catch {
            findings.append(Finding(.error, Finding.Place(path, line: error.line), error.reason))
            return false
        }
    }

    private mutating func check(_ file: SettingsFile) {
        var lines: [String: Int] = [:]
        for problem in file.problems {
            findings.append(Finding(.error, Finding.Place(file.path, line: problem.line), problem.text))
            if let error = problem.error { keysWithoutValue.insert(error.key) }
        }
        for leaf in file.outline.leaves where SettingNames.keys.contains(leaf.path) {
            let place = Finding.Place(file.path, line: leaf.line)
            if let first = lines.updateValue(leaf.line, forKey: leaf.path) {
                findings.append(
                    Finding(.warning, place, "'\(leaf.path)' appears twice, first in line \(first); keep one of them"))
            }
            if places[leaf.path] == nil { places[leaf.path] = place }
        }
        add(file.unknown)
    }

    private mutating func add(_ unknown: [UnknownSetting]) {
        findings += unknown.map { setting in
            Finding(
                setting.isLikelyMistake ? .warning : .note, Finding.Place(setting.source, line: setting.line),
                setting.problem)
        }
    }
}
