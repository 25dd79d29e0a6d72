// SPDX-License-Identifier: Apache-2.0

import Configuration
import MusterEndpoint
import MusterExecution
import MusterPlatform
import MusterSupervision

extension MusterSettings {
    /// All settings. Reading, reloading, `muster check` and the table in `docs/configuration.md` follow from this table:
    /// a new setting is a property and an entry here.
    package static let table: [Setting] = [
        Setting(
            "muster.endpoint.address", \.endpoint, .endpoint, .nextStart,
            "where metrics and probes are served",
            advice: { settings in
                guard let endpoint = settings.endpoint else {
                    return .note("the endpoint is off: there are no metrics and no probes")
                }
                guard endpoint.webConfigFile == nil, case .tcp(let host, _) = endpoint.address, !isLoopback(host)
                else { return nil }
                return .note(
                    """
                    metrics and status at \(endpoint.address) are readable by everybody on the network; set \
                    muster.endpoint.web-config-file for TLS and passwords
                    """)
            }),
        Setting(
            "muster.endpoint.web-config-file", \.webConfigFile, .path("path of a web config file"), .nextStart,
            "who has access, and how connections are encrypted"),
        Setting(
            "muster.endpoint.open-probes", \.opensProbes, .boolean, .nextStart,
            "whether probes are answered without the web config file's access check"),
        Setting(
            "muster.graceful-shutdown-timeout", \.gracefulShutdownTimeout, .unlimitedDuration, .atOnce,
            "how long a worker, or a service in one process, may take to stop before it is terminated",
            advice: {
                $0.gracefulShutdownTimeout > .zero
                    ? nil : .note("muster.graceful-shutdown-timeout is 0: a service that does not stop is never killed")
            }),
        Setting(
            "muster.shutdown-delay", \.shutdownDelay, .duration, .nextStart,
            "how long a graceful shutdown keeps serving, no longer ready, before the workers stop"),
        Setting(
            "muster.startup-timeout", \.startupTimeout, .unlimitedDuration, .nextWorker,
            "how long a worker may take until its service has started",
            advice: {
                if $0.startupTimeout == .zero {
                    return .note("muster.startup-timeout is 0: a worker that hangs while it starts is never replaced")
                }
                guard $0.startupTimeout < .seconds(1) else { return nil }
                return .warning(
                    """
                    muster.startup-timeout (\($0.startupTimeout.settingText)) kills workers that start slowly on a \
                    busy machine; set it to 5s or more
                    """)
            }),
        Setting(
            "muster.liveness-limit", \.livenessLimit, .positiveDuration, .atOnce,
            "how long there may be no progress",
            advice: {
                guard $0.livenessLimit < .milliseconds(500) else { return nil }
                return .warning(
                    """
                    muster.liveness-limit (\($0.livenessLimit.settingText)) mistakes a short stall of a busy machine \
                    for a hang; set it to 1s or more
                    """)
            }),
        Setting(
            "muster.abort-grace", \.abortGrace, .positiveDuration, .atOnce,
            "how long a hung worker has to write its backtraces before it is killed",
            advice: {
                guard $0.abortGrace < .seconds(1) else { return nil }
                return .warning(
                    """
                    muster.abort-grace (\($0.abortGrace.settingText)) kills a hung or crashed worker before it has \
                    written its backtraces, which takes about 0.7 s with debug information; set it to 5s or more
                    """)
            }),
        Setting("muster.restart-method", \.restartMethod, .choice(), .atOnce, "what SIGHUP does"),
        Setting("muster.start-method", \.startMethod, .choice(), .nextStart, "how workers are started"),
        Setting(
            "muster.early-restart", \.restartsEarly, .boolean, .nextStart,
            "whether a replacement may start while the dead worker's files and sockets are still open"),
        Setting(
            "muster.restart-backoff.base", \.restartBackoff.base, .duration, .atOnce,
            "the first delay before a slot's next process", takeUp: { $0.restartBackoff = $1.restartBackoff }),
        Setting(
            "muster.restart-backoff.maximum", \.restartBackoff.maximum, .duration, .atOnce,
            "the longest delay before a slot's next process", takeUp: { $0.restartBackoff = $1.restartBackoff },
            related: ["muster.restart-backoff.base"],
            advice: {
                guard $0.restartBackoff.maximum < $0.restartBackoff.base else { return nil }
                return .warning(
                    """
                    muster.restart-backoff.maximum (\($0.restartBackoff.maximum.settingText)) is below \
                    muster.restart-backoff.base (\($0.restartBackoff.base.settingText)), so that every delay is the \
                    maximum; raise it
                    """)
            }),
        Setting(
            "muster.restart-backoff.stable-time", \.restartBackoff.stableTime, .positiveDuration, .atOnce,
            "how long a process has to be ready until the delay starts from the base again",
            takeUp: { $0.restartBackoff = $1.restartBackoff }),
        Setting(
            "muster.restart-intensity.maximum", \.intensity.maximum,
            .integer(0...1_000_000, "number; 0 for no limit"), .atOnce,
            "how many restarts of a service within the period are tolerated",
            takeUp: { $0.restartIntensity = $1.restartIntensity }),
        Setting(
            "muster.restart-intensity.period", \.intensity.period, .positiveDuration, .atOnce,
            "the period in which restarts are counted", takeUp: { $0.restartIntensity = $1.restartIntensity }),
        Setting(
            "muster.restart-intensity.when-exceeded", \.intensity.whenExceeded, .choice(), .atOnce,
            "what happens after too many restarts", takeUp: { $0.restartIntensity = $1.restartIntensity },
            related: ["muster.restart-intensity.period"],
            advice: {
                $0.restartIntensity == nil
                    ? .note("the restart intensity has no effect: muster.restart-intensity.maximum is 0") : nil
            }),
        Setting(
            "muster.recycle.memory", \.recycle.memory, .bytes("0 for no limit"), .atOnce,
            "how much anonymous memory a worker may have before it is replaced"),
        Setting(
            "muster.recycle.age", \.recycle.age, .unlimitedDuration, .atOnce,
            "how long a worker serves before it is replaced", related: ["muster.recycle.minimum-age"],
            advice: {
                guard $0.recycle.age > .zero, $0.recycle.age < $0.recycle.minimumAge else { return nil }
                return .warning(
                    """
                    muster.recycle.age (\($0.recycle.age.settingText)) is below muster.recycle.minimum-age \
                    (\($0.recycle.minimumAge.settingText)), which a worker reaches in any case; raise it or lower the other
                    """)
            }),
        Setting(
            "muster.recycle.minimum-age", \.recycle.minimumAge, .positiveDuration, .atOnce,
            "how long a worker serves before it can be recycled, whatever the reason"),
        Setting(
            "muster.ready-condition", \.readyCondition, .choice(), .atOnce,
            "how many workers have to be ready for the supervisor's `/readyz`"),
        Setting(
            "muster.live-condition", \.liveCondition, .choice(), .atOnce,
            "what the supervisor's `/livez` depends on"),
        Setting(
            "muster.arena-capacity", \.arenaCapacity, .integer(4096...1 << 30, "bytes, 4096 to 1073741824"), .nextStart,
            "the size of each worker's metric arena"),
        Setting(
            fileOf: fileKey, "path of a JSON file with more settings",
            "the file with the settings that neither arguments nor environment set"),
        Setting(
            ConsolePlace.key, \.console, .console, .nextStart,
            "where the diagnostics console listens",
            advice: {
                guard case .ports = $0.console else { return nil }
                return .note(
                    """
                    the console at a port admits those whose connections /proc/net/tcp shows as this user's; the path of a \
                    Unix socket is safer
                    """)
            }),
        Setting(
            "muster.log-options", \.logOptions, .boolean, .nextStart,
            "whether the settings are logged, at debug level, at the start"),
        Setting(
            "muster.settings-watch", \.settingsWatch, .boolean, .nextStart,
            "whether a change of the settings file is taken up as at SIGHUP"),
        Setting(
            "muster.run-external-periodic-tasks", \.runsExternalPeriodicTasks, .boolean, .nextWorker,
            "whether periodic tasks that are marked as external run in this program"),
    ]

    /// The setting that names the file with the others, which is read before them.
    package static let fileKey = "muster.settings-file"

    /// These settings with those of others that a program takes up while it runs; the rest waits for the next start.
    ///
    /// What the program has set since these were loaded stays, unless it has set the others, too.
    func takingUp(_ read: MusterSettings) -> MusterSettings {
        var settings = self
        settings.loaded = read.loaded
        settings.places = read.places
        settings.fileContent = read.fileContent
        for setting in Self.table {
            if setting.reload == .nextStart {
                settings.loaded?[setting.key] = loaded?[setting.key]
                settings.places[setting.key] = places[setting.key]
            } else if !hasChosen(setting.key) || read.hasChosen(setting.key) || read.loaded == nil {
                setting.takeUp(&settings, read)
            }
        }
        settings.chosen = chosen
        return settings
    }

    /// Takes over what the program has set in other settings.
    mutating func takeUpChosen(of other: MusterSettings) {
        for setting in Self.table where other.hasChosen(setting.key) { setting.takeUp(&self, other) }
        chosen = []
    }

    func hasChosen(_ key: String) -> Bool {
        chosen.contains { key == $0 || key.hasPrefix($0 + ".") }
    }

    private static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }

    // MARK: Properties that are part of an optional one

    private var webConfigFile: String? {
        get { endpoint?.webConfigFile }
        set {
            endpoint?.webConfigFile = newValue
            endpoint?.webConfigFileSetting = Setting.spellings(of: "muster.endpoint.web-config-file")
        }
    }

    private var opensProbes: Bool {
        get { endpoint?.opensProbes ?? false }
        set { endpoint?.opensProbes = newValue }
    }

    private var intensity: RestartIntensity {
        get { restartIntensity ?? RestartIntensity(maximum: 0) }
        set { restartIntensity = newValue.maximum > 0 ? newValue : nil }
    }
}

/// An entry of ``MusterSettings/table``.
package struct Setting: Sendable {
    /// When a changed value takes effect.
    package enum Reload: String, Sendable {
        case atOnce = "at once"
        case nextWorker = "next worker"
        case nextStart = "next start"
        case always = "read again"
    }

    /// What `muster check` says about a value that can be used.
    package enum Advice: Hashable, Sendable {
        case warning(String)
        case note(String)
    }

    /// The key, for example `muster.liveness-limit`.
    package let key: String
    /// Which values can be used, in the words of the documentation.
    package let syntax: String
    /// The default as it would be written; `nil` for none.
    package let defaultValue: String?
    package let reload: Reload
    /// What it means, as the documentation begins to explain it.
    package let text: String
    /// The settings whose place is named with the advice when this one is not set.
    package let related: [String]
    package let advice: @Sendable (MusterSettings) -> Advice?

    /// Reads the value into the settings, if there is a value.
    let read: @Sendable (inout MusterSettings, SettingsReader) throws(SettingsError) -> Void
    /// What it may be in a JSON file.
    let kinds: Set<JSONOutline.Kind>
    /// The value in settings, as it would be written; `nil` for none.
    let value: @Sendable (MusterSettings) -> String?
    /// Copies the value from settings that were read again.
    let takeUp: @Sendable (inout MusterSettings, MusterSettings) -> Void

    fileprivate init<Value>(
        _ key: String, _ property: any WritableKeyPath<MusterSettings, Value> & Sendable, _ value: SettingValue<Value>,
        _ reload: Reload, _ text: String,
        takeUp: (@Sendable (inout MusterSettings, MusterSettings) -> Void)? = nil, related: [String] = [],
        advice: @escaping @Sendable (MusterSettings) -> Advice? = { _ in nil }
    ) {
        self.key = key
        self.syntax = value.syntax
        kinds = value.kinds
        self.defaultValue = value.text(MusterSettings()[keyPath: property])
        self.reload = reload
        self.text = text
        self.related = related
        self.advice = advice
        self.value = { value.text($0[keyPath: property]) }
        read = { (settings, reader) throws(SettingsError) in
            if let read = try value.read(reader, key) { settings[keyPath: property] = read }
        }
        self.takeUp = takeUp ?? { (settings, read) in settings[keyPath: property] = read[keyPath: property] }
    }

    /// The setting that names the file with the others.
    fileprivate init(fileOf key: String, _ syntax: String, _ text: String) {
        self.key = key
        self.syntax = syntax
        self.text = text
        defaultValue = nil
        kinds = [.text]
        reload = .always
        related = []
        advice = { _ in nil }
        value = { $0.file }
        read = { (_, _) throws(SettingsError) in }
        takeUp = { _, _ in }
    }

    /// The name of the environment variable.
    package var variable: String { Self.variable(of: key) }

    /// The name of the argument.
    package var argument: String { Self.argument(of: key) }

    private static func variable(of key: String) -> String {
        String(key.map { $0 == "." || $0 == "-" ? "_" : Character($0.uppercased()) })
    }

    private static func argument(of key: String) -> String { "--" + String(key.map { $0 == "." ? "-" : $0 }) }

    /// The key, the environment variable and the argument of a setting, for errors.
    static func spellings(of key: String) -> String {
        "'\(key)' (environment \(variable(of: key)), argument \(argument(of: key)))"
    }
}

/// A kind of value: how it is read and written.
private struct SettingValue<Value: Sendable>: Sendable {
    let syntax: String
    var kinds: Set<JSONOutline.Kind> = [.text]
    let read: @Sendable (SettingsReader, String) throws(SettingsError) -> Value?
    /// The value as it would be written; `nil` for none.
    let text: @Sendable (Value) -> String?
}

extension SettingValue where Value == Duration {
    static var duration: Self { duration("duration", allowsZero: true) }
    static var unlimitedDuration: Self { duration("duration; 0 for no limit", allowsZero: true) }
    static var positiveDuration: Self { duration("duration above zero", allowsZero: false) }

    private static func duration(_ syntax: String, allowsZero: Bool) -> Self {
        Self(
            syntax: syntax, kinds: [.text, .number],
            read: { (reader, key) throws(SettingsError) in try reader.duration(key, allowsZero: allowsZero) },
            text: { $0.settingText })
    }
}

extension SettingValue where Value == Bool {
    static var boolean: Self {
        Self(
            syntax: "`true` or `false`", kinds: [.text, .boolean],
            read: { (reader, key) throws(SettingsError) in try reader.boolean(key) },
            text: { $0.description })
    }
}

extension SettingValue where Value == Int {
    static func integer(_ range: ClosedRange<Int>, _ syntax: String) -> Self {
        Self(
            syntax: syntax, kinds: [.text, .number],
            read: { (reader, key) throws(SettingsError) in try reader.integer(key, in: range) },
            text: { $0.description })
    }
}

extension SettingValue where Value == Int {
    /// A size in bytes.
    static func bytes(_ zero: String) -> Self {
        Self(
            syntax: "bytes, or a number with `KiB`, `MiB` or `GiB`; \(zero)", kinds: [.text, .number],
            read: { (reader, key) throws(SettingsError) in try reader.bytes(key) },
            text: { $0.description })
    }
}

extension SettingValue where Value: CaseIterable & RawRepresentable, Value.RawValue == String {
    static func choice() -> Self {
        Self(
            syntax: Value.allCases.map { "`\($0.rawValue)`" }.joined(separator: " or "),
            read: { (reader, key) throws(SettingsError) in try reader.choice(key) }, text: { $0.rawValue })
    }
}

extension SettingValue where Value == String? {
    /// A path; an empty one is none.
    static func path(_ syntax: String) -> Self {
        Self(
            syntax: syntax,
            read: { (reader, key) throws(SettingsError) in
                guard let path = try reader.text(key), !path.isEmpty else { return nil }
                return .some(path)
            }, text: { $0 })
    }
}

extension SettingValue where Value == ConsolePlace? {
    static var console: Self {
        Self(
            syntax: "`PATH` (with `{pid}` and `{slot}`), `PORT`, `PORT:PORT`, or `off`", kinds: [.text, .number],
            read: { (reader, key) throws(SettingsError) in
                guard let text = try reader.text(key) else { return nil }
                guard text != "off" else { return .some(nil) }
                do throws(ConsolePlaceError) {
                    return try ConsolePlace(parsing: text)
                } catch {
                    throw SettingsError(key: key, value: text, expected: "\(error.expected), or off")
                }
            },
            text: { $0.map { "\($0)" } ?? "off" })
    }
}

extension SettingValue where Value == EndpointConfiguration? {
    static var endpoint: Self {
        Self(
            syntax: "`HOST:PORT` (port 0: any; IPv6 in brackets), `unix:PATH`, `fd:N`, `systemd:NAME`, or `off`",
            read: { (reader, key) throws(SettingsError) in
                guard let text = try reader.text(key) else { return nil }
                return .some(try reader.endpoint(text, key: key))
            },
            text: { $0.map { "\($0.address)" } ?? "off" })
    }
}

extension Duration {
    /// The duration as it is written in settings, `60s` or `10ms`.
    fileprivate var settingText: String {
        let milliseconds = Double(components.seconds) * 1000 + Double(components.attoseconds) / 1e15
        guard milliseconds.truncatingRemainder(dividingBy: 1000) != 0 else { return "\(components.seconds)s" }
        return milliseconds == milliseconds.rounded() ? "\(Int64(milliseconds))ms" : "\(milliseconds)ms"
    }
}
