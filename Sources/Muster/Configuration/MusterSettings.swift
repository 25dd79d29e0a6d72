// SPDX-License-Identifier: Apache-2.0

public import Configuration
public import MusterEndpoint
import MusterExecution
import MusterPlatform

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
    /// | `muster.endpoint.address` | `HOST:PORT`, `unix:PATH` or `off` | `127.0.0.1:9917` |
    /// | `muster.graceful-shutdown-timeout` | duration, 0 = endless | `60s` |
    /// | `muster.liveness-limit` | duration | `10s` |
    /// | `muster.restart-method` | `reload` or `mutate` | `reload` |
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
        if let value = try reader.duration("muster.graceful-shutdown-timeout", allowsZero: true) {
            gracefulShutdownTimeout = value
        }
        if let value = try reader.duration("muster.liveness-limit", allowsZero: false) { livenessLimit = value }
        if let value: RestartMethod = try reader.choice("muster.restart-method") { restartMethod = value }
        if let value = try reader.boolean("muster.log-options") { logOptions = value }
    }

    /// Reads settings as a program usually does: from its arguments, then the environment, then a JSON file when one
    /// is named.
    ///
    /// - Parameter file: The file's path.
    /// - Returns: The settings.
    /// - Throws: ``SettingsError`` for a value that cannot be used; what reading the file throws.
    public static func load(file: String? = nil) throws -> MusterSettings {
        var providers: [any ConfigProvider] = [CommandLineArgumentsProvider(), EnvironmentVariablesProvider()]
        if let file {
            providers.append(try SettingsReader.jsonFile(file))
        }
        return try MusterSettings(config: ConfigReader(providers: providers))
    }
}
