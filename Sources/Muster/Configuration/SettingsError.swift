// SPDX-License-Identifier: Apache-2.0

/// A setting that cannot be used.
public struct SettingsError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The setting's key, for example `muster.endpoint.address`.
    public let key: String
    /// What it was set to.
    public let value: String
    /// What it should be.
    public let expected: String

    /// Names the setting in all its spellings, its value and the remedy.
    public var description: String {
        "setting \(Self.spellings(of: key)) is '\(value)': expected \(expected)"
    }

    /// The key, the environment variable and the argument of a setting.
    package static func spellings(of key: String) -> String {
        let environment = String(key.map { $0 == "." || $0 == "-" ? "_" : Character($0.uppercased()) })
        let argument = "--" + String(key.map { $0 == "." ? "-" : $0 })
        return "'\(key)' (environment \(environment), argument \(argument))"
    }
}
