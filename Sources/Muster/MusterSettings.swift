// SPDX-License-Identifier: Apache-2.0

public import Configuration
import Logging
public import MusterEndpoint
import MusterExecution
import MusterHealth
import MusterLock
import MusterMetrics
import MusterPlatform
public import MusterSupervision

/// The settings of the runtime. A plain value: no environment variable is read implicitly.
///
/// A property that the program sets after ``load(file:)`` keeps its value whenever the settings are read again.
public struct MusterSettings: Sendable {
    /// Where metrics and health checks are served; `nil` for nowhere.
    public var endpoint: EndpointConfiguration? {
        didSet { chosen.insert("muster.endpoint") }
    }
    /// How long a graceful shutdown may take before it is forced; zero for no limit.
    public var gracefulShutdownTimeout: Duration {
        didSet { chosen.insert("muster.graceful-shutdown-timeout") }
    }
    /// How long there may be no progress before `/livez` fails.
    public var livenessLimit: Duration {
        didSet { chosen.insert("muster.liveness-limit") }
    }
    /// What SIGHUP does.
    public var restartMethod: RestartMethod {
        didSet { chosen.insert("muster.restart-method") }
    }
    /// Whether the settings are logged, at debug level, when the launcher starts.
    public var logOptions: Bool {
        didSet { chosen.insert("muster.log-options") }
    }
    /// Whether a change of the settings file is taken up as at SIGHUP.
    public var settingsWatch = false {
        didSet { chosen.insert("muster.settings-watch") }
    }
    /// Whether periodic tasks that are marked as external run in this program.
    public var runsExternalPeriodicTasks = true {
        didSet { chosen.insert("muster.run-external-periodic-tasks") }
    }

    /// How workers are started.
    package var startMethod = StartMethod.forkServer {
        didSet { chosen.insert("muster.start-method") }
    }
    /// Whether a worker is replaced when it begins to end, or when it has ended.
    package var restartsEarly = true {
        didSet { chosen.insert("muster.early-restart") }
    }
    /// How long a worker may take until its service has started; zero for no limit.
    public var startupTimeout: Duration = .seconds(60) {
        didSet { chosen.insert("muster.startup-timeout") }
    }
    /// How long a graceful shutdown keeps serving, no longer ready, before the workers stop: the time that load
    /// balancers need to notice.
    public var shutdownDelay: Duration = .zero {
        didSet { chosen.insert("muster.shutdown-delay") }
    }
    /// How long a hung worker has to write its backtraces before it is killed.
    public var abortGrace: Duration = .seconds(15) {
        didSet { chosen.insert("muster.abort-grace") }
    }
    /// How long to wait before a worker is restarted.
    public var restartBackoff = RestartBackoff() {
        didSet { chosen.insert("muster.restart-backoff") }
    }
    /// How many restarts of a service are tolerated; `nil` for any number.
    public var restartIntensity: RestartIntensity? = RestartIntensity() {
        didSet { chosen.insert("muster.restart-intensity") }
    }
    /// When a worker is replaced although nothing is wrong with it.
    public var recycle = RecyclePolicy() {
        didSet { chosen.insert("muster.recycle") }
    }
    /// How many workers of each service have to be ready for `/readyz`.
    public var readyCondition = ReadyCondition.anyWorker {
        didSet { chosen.insert("muster.ready-condition") }
    }
    /// What `/livez` of a supervisor depends on.
    public var liveCondition = LiveCondition.noHungWorker {
        didSet { chosen.insert("muster.live-condition") }
    }
    /// Where the diagnostics console listens; `nil` for nowhere.
    package var console: ConsolePlace? {
        didSet { chosen.insert(ConsolePlace.key) }
    }
    /// The size of each worker's metric arena in bytes. Unused pages take no memory.
    public var arenaCapacity = ArenaWriter.defaultCapacity {
        didSet { chosen.insert("muster.arena-capacity") }
    }
    /// The file that the settings were read from, which a reload reads again.
    package internal(set) var file: String?
    /// The values that were read, by their keys; `nil` for settings that the program has made itself.
    package internal(set) var loaded: [String: String]?
    /// Where the values that were read come from, by their keys: `arguments`, `environment`, or a file and its line.
    var places: [String: String] = [:]
    /// What the file said.
    var fileContent: SettingsFile.Content?
    /// The keys, or groups of keys, whose properties the program has set since.
    var chosen: Set<String> = []

    /// Creates settings; the defaults are those of the documentation.
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

    /// Reads settings; `docs/configuration.md` lists the keys. The first of the reader's providers that has a key counts.
    /// In a worker, the values are those that its supervisor has accepted last, whatever the providers say by now.
    ///
    /// - Throws: ``SettingsError`` for a value that cannot be used.
    public init(config: ConfigReader) throws(SettingsError) {
        try self.init(reading: InheritedSettings.reader ?? SettingsReader(config: config))
    }

    private init(reading reader: SettingsReader) throws(SettingsError) {
        self.init()
        var loaded: [String: String] = [:]
        for setting in Self.table {
            try setting.read(&self, reader)
            loaded[setting.key] = try reader.value(setting.key)
        }
        self.loaded = loaded
        chosen = []
        if let own = InheritedSettings.own { takeUpChosen(of: own) }
    }

    /// Reads settings as a program usually does: from its arguments, then the environment, then a JSON file when one
    /// is named. A launcher reads them again on SIGHUP; what the program sets afterwards stays. A worker reads none of these: it gets the values that its
    /// supervisor has accepted last.
    ///
    /// - Parameter file: The file's path; when `nil`, the one that the environment variable `MUSTER_SETTINGS_FILE`
    ///   or the argument `--muster-settings-file` names, if any.
    /// - Throws: ``SettingsError`` for a value that cannot be used; errors of reading the file.
    public static func load(file: String? = nil) throws -> MusterSettings {
        if let reader = InheritedSettings.reader {
            var settings = try MusterSettings(reading: reader)
            settings.file = file ?? settings.loaded?[fileKey]
            settings.source = { try load(file: file) }
            return settings
        }
        let variables = withoutEmpty(ProcessEnvironment.inherited.variables)
        let settings = try load(
            arguments: CommandLineArgumentsProvider(),
            environment: EnvironmentVariablesProvider(environmentVariables: variables), file: file)
        warn(
            of: UnknownSetting.of(variables: variables.keys)
                + UnknownSetting.of(arguments: CommandLine.arguments.dropFirst()))
        return settings
    }

    /// The environment, in which an empty variable counts as one that is not set.
    static var environment: EnvironmentVariablesProvider {
        EnvironmentVariablesProvider(environmentVariables: withoutEmpty(ProcessEnvironment.inherited.variables))
    }

    private static func warn(of unknown: [UnknownSetting]) {
        guard !unknown.isEmpty else { return }
        let logger = Logger(label: "muster.settings").queued
        for setting in unknown {
            let place = setting.line.map { "\(setting.source):\($0)" } ?? setting.source
            logger.log(
                level: setting.isLikelyMistake ? .warning : .debug, "unknown setting",
                metadata: ["setting": "\(setting.name)", "place": "\(place)", "problem": "\(setting.problem)"])
        }
    }

    /// Variables without those that are empty.
    package static func withoutEmpty(_ variables: [String: String]) -> [String: String] {
        variables.filter { !$0.value.isEmpty }
    }

    static func load(
        arguments: any ConfigProvider, environment: any ConfigProvider, file: String?
    ) throws -> MusterSettings {
        let (providers, file) = try sources(arguments: arguments, environment: environment, file: file)
        var settings: MusterSettings
        if let file, let problem = file.problems.first {
            var error = problem.error
            error?.place = "\(file.path):\(problem.line)"
            throw error ?? SettingsFileError(path: file.path, line: problem.line, reason: problem.text)
        }
        do throws(SettingsError) {
            settings = try MusterSettings(config: ConfigReader(providers: providers))
        } catch {
            // Named only where the value is the file's.
            let others = SettingsReader(config: ConfigReader(providers: Array(providers.prefix(2))))
            guard let file, let line = file.line(of: error.key), (try? others.value(error.key)) == .some(nil) else {
                throw error
            }
            var placed = error
            placed.place = "\(file.path):\(line)"
            throw placed
        }
        warn(of: file?.unknown ?? [])
        settings.file = file?.path
        settings.fileContent = file?.content
        settings.places = places(of: settings.loaded ?? [:], arguments: arguments, environment: environment, file: file)
        settings.source = { [path = file?.path] in
            try load(arguments: arguments, environment: environment, file: path)
        }
        return settings
    }

    private static func places(
        of loaded: [String: String], arguments: any ConfigProvider, environment: any ConfigProvider, file: SettingsFile?
    ) -> [String: String] {
        let sources = [("arguments", arguments), ("environment", environment)].map { name, provider in
            (name, SettingsReader(config: ConfigReader(providers: [provider])))
        }
        return loaded.reduce(into: [:]) { places, setting in
            let source = sources.first { (try? $0.1.value(setting.key)) != nil }
            places[setting.key] =
                source?.0
                ?? file.flatMap { file in
                    file.line(of: setting.key).map { "\(file.path):\($0)" }
                }
        }
    }

    /// The settings as they are, with where each comes from: one of ``places``, `program`, `supervisor`, or `default`. None
    /// of them is a secret: what opens doors is in the web config file, of which there is only the name.
    package var inForce: [(key: String, value: String, source: String)] {
        Self.table.map { setting in
            let isRead = loaded?[setting.key] != nil
            let source =
                hasChosen(setting.key)
                ? "program"
                : isRead ? places[setting.key] ?? (Worker.isWorkerProcess ? "supervisor" : "program") : "default"
            return (setting.key, setting.value(self) ?? "none", source)
        }
    }

    /// Logs all of them, if that is wanted.
    func log(to logger: Logger) {
        guard logOptions, logger.logLevel <= .debug else { return }
        for (key, value, source) in inForce {
            logger.debug("setting", metadata: ["setting": "\(key)", "value": "\(value)", "source": "\(source)"])
        }
    }

    /// Logs which are not as they were.
    func logChanges(since before: MusterSettings, to logger: Logger) {
        for (old, new) in zip(before.inForce, inForce) where old.value != new.value {
            logger.info(
                "setting changed",
                metadata: [
                    "setting": "\(new.key)", "value": "\(new.value)", "before": "\(old.value)",
                    "source": "\(new.source)",
                ])
        }
    }

    /// The sources that ``load(file:)`` reads, the one that counts most first, and the JSON file among them: `file`, or
    /// else the one that the others name, if any.
    package static func sources(
        arguments: any ConfigProvider, environment: any ConfigProvider, file: String?
    ) throws -> (providers: [any ConfigProvider], file: SettingsFile?) {
        var providers = [arguments, environment]
        guard let path = try file ?? SettingsReader(config: ConfigReader(providers: providers)).text(fileKey) else {
            return (providers, nil)
        }
        let file = try SettingsFile(reading: path)
        providers.append(file.provider)
        return (providers, file)
    }

    /// Reads the settings again on SIGHUP, from where they were loaded; `nil` for settings that the program has made
    /// itself. Set it if options of your own, which may change, override what was loaded, to a closure that reads both.
    public var source: (@Sendable () throws -> MusterSettings)?

    /// Sets the restart method for good, whatever is read again; `nil` changes nothing.
    mutating func fix(_ method: RestartMethod?) {
        guard let method else { return }
        restartMethod = method
        guard let source else { return }
        self.source = {
            var settings = try source()
            settings.restartMethod = method
            return settings
        }
    }
}

/// What the liveness of a supervised program depends on.
public enum LiveCondition: String, Hashable, Sendable, CaseIterable {
    /// The supervisor makes progress and replaces hung workers.
    case noHungWorker = "no-hung-worker"
    /// The supervisor makes progress, whatever the state of its workers.
    case supervisor
}

/// How many workers of each launched service have to be ready for the program to be.
public enum ReadyCondition: String, Hashable, Sendable, CaseIterable {
    /// One is enough: the others are being replaced, and meanwhile it serves.
    case anyWorker = "any-worker"
    /// All of them, for a service whose capacity counts.
    case everyWorker = "every-worker"
}

/// A setting that cannot be used.
public struct SettingsError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The setting's key, for example `muster.endpoint.address`.
    package let key: String
    /// The value that was set.
    package let value: String
    /// What was expected.
    package let expected: String
    /// The file and line that it stands in; `nil` for an argument or the environment.
    package var place: String?

    package init(key: String, value: String, expected: String, place: String? = nil) {
        self.key = key
        self.value = value
        self.expected = expected
        self.place = place
    }

    /// Names the setting in all its spellings, its value and the remedy.
    public var description: String {
        "\(place.map { $0 + ": " } ?? "")setting \(Setting.spellings(of: key)) is '\(value)': expected \(expected)"
    }
}

/// The settings that this process has got from its supervisor.
enum InheritedSettings {
    private static let settings = Locked(
        { () -> WorkerSettings? in
            if case .worker(let marker) = WorkerMarker.current { marker.settings } else { nil }
        }())

    /// Reads them; `nil` in a process that is no worker, or whose supervisor has loaded none.
    static var reader: SettingsReader? {
        settings.withLock { $0 }.map { SettingsReader(values: $0.values) }
    }

    /// Those of a worker's launcher, with what the program has set in them.
    static var own: MusterSettings? { launcher.withLock { $0 } }

    private static let launcher = Locked<MusterSettings?>(nil)

    /// What is loaded from now on in this worker has the values that its program has set before.
    static func keep(_ settings: MusterSettings) {
        launcher.withLock { $0 = settings }
    }

    /// Takes those of a reload.
    static func take(_ new: WorkerSettings) {
        settings.withLock { $0 = new }
    }
}
