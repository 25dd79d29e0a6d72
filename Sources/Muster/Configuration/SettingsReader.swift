// SPDX-License-Identifier: Apache-2.0

import Configuration
import MusterEndpoint
import MusterExecution
import MusterPlatform
import SystemPackage

/// Reads single settings, and says what is wrong with those that cannot be used.
struct SettingsReader {
    let config: ConfigReader

    func text(_ key: String) -> String? {
        config.string(forKey: ConfigKey(key))
    }

    func duration(_ key: String) throws(SettingsError) -> Duration? {
        guard let text = text(key) else { return nil }
        guard let value = Duration(parsing: text) else {
            throw SettingsError(key: key, value: text, expected: "a duration such as 500ms, 10s or 2m")
        }
        return value
    }

    func boolean(_ key: String) throws(SettingsError) -> Bool? {
        guard let text = text(key) else { return nil }
        switch text.lowercased() {
        case "true", "yes", "on", "1": return true
        case "false", "no", "off", "0": return false
        default: throw SettingsError(key: key, value: text, expected: "true or false")
        }
    }

    func choice<Value: CaseIterable & RawRepresentable>(
        _ key: String
    ) throws(SettingsError) -> Value? where Value.RawValue == String {
        guard let text = text(key) else { return nil }
        guard let value = Value(rawValue: text) else {
            let all = Value.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
            throw SettingsError(key: key, value: text, expected: "one of \(all)")
        }
        return value
    }

    func endpoint(_ text: String, key: String) throws(SettingsError) -> EndpointConfiguration? {
        if text == "off" { return nil }
        do {
            var configuration = EndpointConfiguration()
            configuration.address = try EndpointAddress(parsing: text)
            return configuration
        } catch {
            throw SettingsError(key: key, value: text, expected: "HOST:PORT, unix:PATH or off (\(error))")
        }
    }

    /// Reads a JSON file before anything else runs.
    static func jsonFile(_ path: String) throws -> any ConfigProvider {
        let provider = Completion<Result<FileProvider<JSONSnapshot>, any Error>>()
        let loop = try EventLoop(name: "muster-settings")
        Task(executorPreference: loop) {
            do {
                provider.complete(with: .success(try await FileProvider(filePath: FilePath(path))))
            } catch {
                provider.complete(with: .failure(error))
            }
            loop.stop()
        }
        try loop.run()
        guard let result = provider.value else { throw CancellationError() }
        return try result.get()
    }
}
