// SPDX-License-Identifier: Apache-2.0

public import Configuration
public import MusterEndpoint
import MusterExecution
import MusterHealth
import MusterMetrics
import MusterPlatform
public import MusterSupervision

/// What can be set about the runtime. A plain value: nothing reads the environment behind one's back.
public struct MusterSettings: Sendable {
    /// Where metrics and health checks are served; `nil` for nowhere.
    public var endpoint: EndpointConfiguration?
    /// How long a graceful end may take before it is forced; zero for ever.
    ///
    /// Upstream: `graceful_shutdown_timeout`.
    public var gracefulShutdownTimeout: Duration
    /// How long there may be no progress before `/livez` fails.
    public var livenessLimit: Duration
    /// What SIGHUP does.
    public var restartMethod: RestartMethod
    /// Whether the settings are logged, at debug level, when the launcher starts.
    ///
    /// Upstream: `log_options`.
    public var logOptions: Bool

    /// How long a worker may take until its service has started; zero for ever.
    public var startupTimeout: Duration = .seconds(60)
    /// How long a graceful end goes on serving, no longer ready, before the workers are told to stop: the time that
    /// load balancers need to take notice.
    public var shutdownDelay: Duration = .zero
    /// How long a hung worker has for writing its backtraces before it is killed.
    public var abortGrace: Duration = .seconds(15)
    /// How long to wait before a worker is started again.
    public var restartBackoff = RestartBackoff()
    /// How many restarts of a service are put up with; `nil` for any number.
    public var restartIntensity: RestartIntensity? = RestartIntensity()
    /// How many workers of each service have to be ready for `/readyz`.
    public var readyCondition = ReadyCondition.anyWorker
    /// What `/livez` of a supervisor depends on.
    public var liveCondition = LiveCondition.noHungWorker
    /// The size of each worker's metric arena in bytes. Pages that hold nothing take no memory.
    public var arenaCapacity = ArenaWriter.defaultCapacity
    /// The file that they were read from, which a reload reads again.
    public internal(set) var file: String?

    /// Creates settings; the defaults are those of the documentation.
    ///
    /// - Parameters:
    ///   - endpoint: Where metrics and health checks are served; `nil` for nowhere.
    ///   - gracefulShutdownTimeout: How long a graceful end may take before it is forced; zero for ever.
    ///   - livenessLimit: How long there may be no progress before `/livez` fails.
    ///   - restartMethod: What SIGHUP does.
    ///   - logOptions: Whether the settings are logged when the launcher starts.
    public init(
        endpoint: EndpointConfiguration? = EndpointConfiguration(),
        gracefulShutdownTimeout: Duration = .seconds(60), livenessLimit: Duration = .seconds(10),
        restartMethod: RestartMethod = .reload, logOptions: Bool = true
    ) {
        self.endpoint = endpoint
        self.gracefulShutdownTimeout = gracefulShutdownTimeout
        self.livenessLimit = livenessLimit
        self.restartMethod = restartMethod
        self.logOptions = logOptions
    }

    /// Reads settings.
    ///
    /// | key | type | default |
    /// |---|---|---|
    /// | `muster.endpoint.address` | `HOST:PORT`, `unix:PATH`, `systemd:NAME` or `off` | `127.0.0.1:9917` |
    /// | `muster.endpoint.web-config-file` | path of a file in exporter-toolkit's format | none |
    /// | `muster.endpoint.open-probes` | boolean | `false` |
    /// | `muster.graceful-shutdown-timeout` | duration, 0 = endless | `60s` |
    /// | `muster.shutdown-delay` | duration | `0s` |
    /// | `muster.startup-timeout` | duration, 0 = endless | `60s` |
    /// | `muster.liveness-limit` | duration | `10s` |
    /// | `muster.abort-grace` | duration | `15s` |
    /// | `muster.restart-method` | `reload` or `mutate` | `reload` |
    /// | `muster.restart-backoff.base` | duration | `10ms` |
    /// | `muster.restart-backoff.maximum` | duration | `30s` |
    /// | `muster.restart-backoff.stable-time` | duration | `10s` |
    /// | `muster.restart-intensity.maximum` | number, 0 = any | `60` |
    /// | `muster.restart-intensity.period` | duration | `60s` |
    /// | `muster.restart-intensity.when-exceeded` | `absorb` or `escalate` | `absorb` |
    /// | `muster.ready-condition` | `any-worker` or `every-worker` | `any-worker` |
    /// | `muster.live-condition` | `no-hung-worker` or `supervisor` | `no-hung-worker` |
    /// | `muster.arena-capacity` | bytes | `4194304` |
    /// | `muster.log-options` | boolean | `true` |
    ///
    /// - Parameter config: Where from; the first of its providers that has a key counts.
    /// - Throws: ``SettingsError`` for a value that cannot be used.
    public init(config: ConfigReader) throws(SettingsError) {
        self.init()
        let reader = SettingsReader(config: config)
        if let text = try reader.text("muster.endpoint.address") {
            endpoint = try reader.endpoint(text, key: "muster.endpoint.address")
        }
        if let path = try reader.text("muster.endpoint.web-config-file"), !path.isEmpty {
            endpoint?.webConfigFile = path
            endpoint?.webConfigFileSetting = SettingsError.spellings(of: "muster.endpoint.web-config-file")
        }
        if let value = try reader.boolean("muster.endpoint.open-probes") { endpoint?.opensProbes = value }
        try reader.duration("muster.graceful-shutdown-timeout", allowsZero: true, into: &gracefulShutdownTimeout)
        try reader.duration("muster.shutdown-delay", allowsZero: true, into: &shutdownDelay)
        try reader.duration("muster.startup-timeout", allowsZero: true, into: &startupTimeout)
        try reader.duration("muster.liveness-limit", allowsZero: false, into: &livenessLimit)
        try reader.duration("muster.abort-grace", allowsZero: false, into: &abortGrace)
        if let value: RestartMethod = try reader.choice("muster.restart-method") { restartMethod = value }
        try readRestarts(reader)
        if let value: ReadyCondition = try reader.choice("muster.ready-condition") { readyCondition = value }
        if let value: LiveCondition = try reader.choice("muster.live-condition") { liveCondition = value }
        if let value = try reader.integer("muster.arena-capacity", in: 4096...1 << 30) { arenaCapacity = value }
        if let value = try reader.boolean("muster.log-options") { logOptions = value }
    }

    private mutating func readRestarts(_ reader: SettingsReader) throws(SettingsError) {
        try reader.duration("muster.restart-backoff.base", allowsZero: true, into: &restartBackoff.base)
        try reader.duration("muster.restart-backoff.maximum", allowsZero: true, into: &restartBackoff.maximum)
        try reader.duration("muster.restart-backoff.stable-time", allowsZero: false, into: &restartBackoff.stableTime)
        var intensity = RestartIntensity()
        if let value = try reader.integer("muster.restart-intensity.maximum", in: 0...1_000_000) {
            intensity.maximum = value
        }
        try reader.duration("muster.restart-intensity.period", allowsZero: false, into: &intensity.period)
        if let value: RestartIntensity.Response = try reader.choice("muster.restart-intensity.when-exceeded") {
            intensity.whenExceeded = value
        }
        restartIntensity = intensity.maximum > 0 ? intensity : nil
    }

    /// Reads settings as a program usually does: from its arguments, then the environment, then a JSON file when one
    /// is named. A ``ProcessLauncher`` reads them again on SIGHUP.
    ///
    /// - Parameter file: The file's path; when `nil`, the one that the environment variable `MUSTER_SETTINGS_FILE`
    ///   or the argument `--muster-settings-file` names, if any.
    /// - Returns: The settings.
    /// - Throws: ``SettingsError`` for a value that cannot be used; what reading the file throws.
    public static func load(file: String? = nil) throws -> MusterSettings {
        let (providers, file) = try sources(
            arguments: CommandLineArgumentsProvider(), environment: EnvironmentVariablesProvider(), file: file)
        var settings = try MusterSettings(config: ConfigReader(providers: providers))
        settings.file = file
        settings.source = { try load(file: file) }
        return settings
    }

    /// Where ``load(file:)`` reads: the first source that has a key counts. `muster check` reads there, too.
    ///
    /// - Parameters:
    ///   - arguments: The program's arguments.
    ///   - environment: Its environment.
    ///   - file: A JSON file's path; when `nil`, the one that the other two name, if any.
    /// - Returns: The sources, and the file's path if there is a file.
    /// - Throws: ``SettingsError``; what reading the file throws.
    package static func sources(
        arguments: any ConfigProvider, environment: any ConfigProvider, file: String?
    ) throws -> (providers: [any ConfigProvider], file: String?) {
        var providers = [arguments, environment]
        let file = try file ?? SettingsReader(config: ConfigReader(providers: providers)).text(fileKey)
        if let file { providers.append(try SettingsReader.jsonFile(file)) }
        return (providers, file)
    }

    /// The setting that names the file with the others.
    package static let fileKey = "muster.settings-file"

    /// Reads them again on SIGHUP, from where they were loaded; `nil` for settings that the program has made itself.
    ///
    /// A program that lets options of its own go before what it has loaded sets it to what reads both.
    public var source: (@Sendable () throws -> MusterSettings)?
}

extension MusterSettings {
    /// These settings with what of others a supervisor takes up while it runs; the rest waits for the next start.
    ///
    /// - Parameter read: The settings as they were read again.
    /// - Returns: What is in force from now on.
    func takingUp(_ read: MusterSettings) -> MusterSettings {
        var settings = self
        settings.gracefulShutdownTimeout = read.gracefulShutdownTimeout
        settings.startupTimeout = read.startupTimeout
        settings.livenessLimit = read.livenessLimit
        settings.abortGrace = read.abortGrace
        settings.restartMethod = read.restartMethod
        settings.restartBackoff = read.restartBackoff
        settings.restartIntensity = read.restartIntensity
        settings.readyCondition = read.readyCondition
        settings.liveCondition = read.liveCondition
        return settings
    }
}

/// What the liveness of a supervised program depends on.
public enum LiveCondition: String, Hashable, Sendable, CaseIterable {
    /// The supervisor works, and gets hung workers replaced.
    case noHungWorker = "no-hung-worker"
    /// The supervisor works, whatever becomes of its workers.
    case supervisor
}

/// How many workers of each launched service have to be ready for the whole to be.
public enum ReadyCondition: String, Hashable, Sendable, CaseIterable {
    /// One is enough: the others are being replaced, and meanwhile it serves.
    case anyWorker = "any-worker"
    /// All of them, for a service whose capacity counts.
    case everyWorker = "every-worker"
}

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
