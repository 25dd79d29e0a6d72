// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterEndpoint
import MusterPlatform

/// All that `muster check` looks at, in one go.
public struct CheckRun {
    private let settingsFile: String?
    private let webConfigFile: String?
    private let units: [String]
    private let arguments: [String]
    private let environment: [String: String]
    private let isBinding: Bool
    private let read: (String) -> Result<String, ReadFailure>

    /// Plans a check.
    ///
    /// - Parameters:
    ///   - settingsFile: A JSON file with settings; when `nil`, the one that the others name.
    ///   - webConfigFile: A web config file; when `nil`, the one that the settings name.
    ///   - units: The paths of systemd units. If there are any, the settings are theirs.
    ///   - arguments: The service's arguments, without the program's name.
    ///   - environment: The environment, which counts without units only.
    ///   - isBinding: Whether to try to listen at the endpoint's address.
    ///   - read: Reads a text file.
    public init(
        settingsFile: String?, webConfigFile: String?, units: [String], arguments: [String],
        environment: [String: String], isBinding: Bool,
        read: @escaping (String) -> Result<String, ReadFailure>
    ) {
        self.settingsFile = settingsFile
        self.webConfigFile = webConfigFile
        self.units = units
        self.arguments = arguments
        self.environment = environment
        self.isBinding = isBinding
        self.read = read
    }

    /// Does it.
    public func report() -> CheckReport {
        var report = CheckReport()
        var input = SettingsInput(arguments: arguments, file: settingsFile)
        if units.isEmpty {
            input.environment = SettingsInput.environment(environment)
            let check = SettingsCheck(input, read: read)
            report.add(check.findings + SettingsRelations.findings(check) + bind(check), about: "settings")
            checkWebConfig(of: check, &report)
        } else {
            checkUnits(input, &report)
        }
        if let webConfigFile { report.add(WebConfigCheck.findings(file: webConfigFile), about: webConfigFile) }
        return report
    }

    private func checkUnits(_ input: SettingsInput, _ report: inout CheckReport) {
        var files: [(path: String, text: String)] = []
        for path in units {
            switch read(path) {
            case .success(let text): files.append((path, text))
            case .failure(let failure):
                report.add([Finding(.error, Finding.Place(path), "\(failure)")], about: path)
            }
        }
        let check = UnitCheck(files, base: input, read: read)
        for (unit, findings) in check.findings { report.add(findings, about: unit) }
        for settings in check.services {
            if isBinding { report.add(bind(settings), about: "endpoint") }
            checkWebConfig(of: settings, &report)
        }
    }

    private func checkWebConfig(of check: SettingsCheck, _ report: inout CheckReport) {
        guard webConfigFile == nil, let file = check.settings.endpoint?.webConfigFile else { return }
        report.add(WebConfigCheck.findings(file: file), about: file)
    }

    /// Listens for a moment.
    private func bind(_ check: SettingsCheck) -> [Finding] {
        guard isBinding, let endpoint = check.settings.endpoint else { return [] }
        let place = check.place(of: "muster.endpoint.address") ?? Finding.Place("settings")
        switch endpoint.address {
        case .systemd, .descriptor:
            return [Finding(.note, place, "\(endpoint.address) is handed over at the start; there is nothing to try")]
        case .tcp, .unix:
            do {
                let socket = try ListeningSocket(endpoint.address, setting: "'muster.endpoint.address'")
                socket.unlinkFile()
                socket.closeDescriptor()
                return []
            } catch {
                return [Finding(.error, place, "\(error)")]
            }
        }
    }
}
