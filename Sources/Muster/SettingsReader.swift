// SPDX-License-Identifier: Apache-2.0

import Configuration
import MusterEndpoint
import MusterHealth
import MusterPlatform

/// Reads single values, with an error that says what was expected.
struct SettingsReader {
    private enum Source {
        case config(ConfigReader)
        case values([String: String])
    }

    private let source: Source

    init(config: ConfigReader) {
        source = .config(config)
    }

    /// Reads values that were read before.
    init(values: [String: String]) {
        source = .values(values)
    }

    /// A value as text, whatever its type: also a boolean in a JSON file, or an argument without a value.
    func value(_ key: String) throws(SettingsError) -> String? {
        if let single = single(key) { return single }
        if case .config(let config) = source, let flag = config.bool(forKey: ConfigKey(key)) { return "\(flag)" }
        return try text(key)
    }

    /// A value as text, however it is written: a JSON file may have a number where the environment has text.
    func text(_ key: String) throws(SettingsError) -> String? {
        if let single = single(key) { return single }
        if case .config(let config) = source, let several = config.stringArray(forKey: ConfigKey(key)) {
            throw SettingsError(key: key, value: several.joined(separator: " "), expected: "one value")
        }
        return nil
    }

    private func single(_ key: String) -> String? {
        let config: ConfigReader
        switch source {
        case .config(let reader): config = reader
        case .values(let values): return values[key]
        }
        let configKey = ConfigKey(key)
        if let text = config.string(forKey: configKey) { return text }
        if let number = config.int(forKey: configKey) { return "\(number)" }
        return config.double(forKey: configKey).map { "\($0)" }
    }

    /// The longest duration, in the words of its error.
    static let longest = (duration: Duration.seconds(365 * 86_400), text: "365d")

    func duration(_ key: String, allowsZero: Bool) throws(SettingsError) -> Duration? {
        guard let text = try text(key) else { return nil }
        guard let value = Duration(parsing: text) else {
            throw SettingsError(key: key, value: text, expected: "a duration such as 500ms, 10s or 2m")
        }
        guard allowsZero || value > .zero else {
            throw SettingsError(key: key, value: text, expected: "a duration above zero, such as 500ms, 10s or 2m")
        }
        guard value <= Self.longest.duration else {
            throw SettingsError(key: key, value: text, expected: "a duration of \(Self.longest.text) at most")
        }
        return value
    }

    func integer(_ key: String, in range: ClosedRange<Int>) throws(SettingsError) -> Int? {
        guard let text = try text(key) else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw SettingsError(
                key: key, value: text, expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    func bytes(_ key: String) throws(SettingsError) -> Int? {
        guard let text = try text(key) else { return nil }
        let digits = text.prefix { ("0"..."9").contains($0) }
        let units = ["": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30]
        guard let number = Int(digits), let unit = units[String(text.dropFirst(digits.count))],
            case (let bytes, false) = number.multipliedReportingOverflow(by: unit)
        else {
            throw SettingsError(
                key: key, value: text, expected: "a whole number of bytes, or one with KiB, MiB or GiB, such as 512MiB")
        }
        return bytes
    }

    func boolean(_ key: String) throws(SettingsError) -> Bool? {
        guard let text = try value(key) else { return nil }
        switch text.lowercased() {
        case "true", "yes", "on", "1": return true
        case "false", "no", "off", "0": return false
        default: throw SettingsError(key: key, value: text, expected: "true or false")
        }
    }

    func choice<Value: CaseIterable & RawRepresentable>(
        _ key: String
    ) throws(SettingsError) -> Value? where Value.RawValue == String {
        guard let text = try text(key) else { return nil }
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
            configuration.address = try ListenAddress(parsing: text)
            configuration.addressSetting = Setting.spellings(of: key)
            return configuration
        } catch {
            throw SettingsError(
                key: key, value: text, expected: "HOST:PORT, unix:PATH, systemd:NAME, fd:N or off (\(error))")
        }
    }
}

extension Duration {
    private static let units: [(suffix: String, nanoseconds: Double)] = [
        ("ns", 1), ("us", 1e3), ("\u{B5}s", 1e3), ("\u{3BC}s", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9),
        ("h", 3600e9), ("d", 86400e9),
    ]

    /// Reads a duration as it is written in settings: `10ms`, `1s`, `1.5m`, `2h`; a bare number is in seconds. Returns
    /// `nil` for a negative one and for other text.
    public init?(parsing text: String) {
        // Longer suffixes first: "ms" ends with "s".
        let unit = Self.units.sorted { $0.suffix.count > $1.suffix.count }.first { text.hasSuffix($0.suffix) }
        let digits = unit.map { text.dropLast($0.suffix.count) } ?? text[...]
        let isPlain = digits.allSatisfy { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard isPlain, let number = Double(digits) else { return nil }
        let nanoseconds = number * (unit?.nanoseconds ?? 1e9)
        guard nanoseconds < 9.2e18 else { return nil }
        self = .nanoseconds(Int64(nanoseconds.rounded()))
    }
}
