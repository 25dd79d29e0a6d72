// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import Logging
import Muster
import MusterDemoSupport
import MusterGlobalPoolBackend

/// The example program: a small key-value store over HTTP, run and watched by Muster.
@main
struct MusterDemo: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "muster-demo",
        abstract: "A small key-value store over HTTP, run and watched by Muster.",
        discussion: """
            The store is divided into shards. One looping call per shard removes what has expired and sums the rest \
            up. Try:

              curl -X PUT --data hello 'http://127.0.0.1:8080/items/greeting?ttl=60'
              curl http://127.0.0.1:8080/items/greeting
              curl http://127.0.0.1:9917/metrics
              curl 'http://127.0.0.1:9917/livez?verbose'

            GET / lists what else can be asked for, trouble included.

            The backend is taken from the environment: MUSTER_BACKEND=cooperative (the default), threading, or \
            global-pool, a backend of the demo's own. With any other value the program does not start. All settings of \
            Muster's that no option here names are taken from the environment, too, for example MUSTER_SHUTDOWN_DELAY=5s. \
            With MUSTER_CONSOLE=PATH there is a console, whose client the program itself is: muster-demo ctl help.
            """,
        version: "muster-demo \(MusterVersion.current)")

    static func main() {
        DiagnosticsConsole.runClient()?.exit()
        main(nil)
    }

    @Option(
        help: ArgumentHelp(
            "Where the store is served: host:port with port 0 for any free one, unix:PATH, or systemd:NAME.",
            valueName: "address"))
    var http: ListenOption = "127.0.0.1:8080"

    @Option(
        help: ArgumentHelp(
            "Where metrics and probes are served, written in the same way. (setting, default: 127.0.0.1:9917)",
            valueName: "address"))
    var endpoint: ListenOption?

    @Option(
        help: ArgumentHelp(
            "Who may ask for metrics and probes, and how: a web config file in exporter-toolkit's format. (setting)",
            valueName: "path"))
    var webConfigFile: String?

    @Flag(help: "Answer probes for everybody, whatever the web config file demands. (setting)")
    var openProbes = false

    @Option(
        help: ArgumentHelp(
            "Where the items are kept; a folder of the run's own, removed at its end, unless given.", valueName: "path"
        ))
    var data: String?

    @Option(
        help: ArgumentHelp(
            "How much of the volume the items may use, for example 64KiB or 1GiB; 0 for no limit. Beyond it the answer "
                + "is 507.", valueName: "size"))
    var dataLimit: SizeOption = "48MiB"

    @Option(help: ArgumentHelp("The number of shards, each with a looping call of its own.", valueName: "n"))
    var loops = 4

    @Option(help: ArgumentHelp("The interval of each looping call, for example 10ms or 1s.", valueName: "duration"))
    var interval: DurationOption = "1s"

    @Option(
        help: ArgumentHelp(
            "Check this often that the store can be written, and less often while it cannot.", valueName: "duration"))
    var checkVolume: DurationOption?

    @Option(
        help: ArgumentHelp(
            "How long there may be no progress before /livez fails. (setting, default: 10s)", valueName: "duration"))
    var livenessLimit: DurationOption?

    @Option(
        help: ArgumentHelp(
            "How long a hung worker may take to write its backtraces before it is killed. (setting, default: 15s)",
            valueName: "duration"))
    var abortGrace: DurationOption?

    @Option(
        help: ArgumentHelp(
            "How long a graceful end may take before it is forced; 0 for ever. (setting, default: 60s)",
            valueName: "duration"))
    var gracefulShutdownTimeout: DurationOption?

    @Option(
        help: ArgumentHelp(
            "How long a connection without a request is kept once a graceful end has begun.", valueName: "duration"))
    var idleGrace: DurationOption = "1s"

    @Option(help: ArgumentHelp("The number of worker processes; 0 for all in one process.", valueName: "n"))
    var workers = 4

    @Option(
        help: ArgumentHelp("Workers started in advance, which wait to take the place of one that dies.", valueName: "n")
    )
    var warmSpares = 0

    @Option(
        help: ArgumentHelp("The backend of the canaries: cooperative, threading or global-pool.", valueName: "name"))
    var canaryBackend: BackendOption?

    @Option(help: ArgumentHelp("The share of the workers that are canaries, 0 to 100.", valueName: "percent"))
    var canaryPercent = 0

    @Option(
        help: ArgumentHelp(
            "What SIGHUP does: reload replaces or restarts, mutate resets while running. (setting, default: reload)",
            valueName: "method"))
    var restartMethod: RestartMethod?

    @Option(
        help: ArgumentHelp(
            "How long a worker may take to come up; 0 for ever. (setting, default: 60s)", valueName: "duration"))
    var startupTimeout: DurationOption?

    @Option(
        help: ArgumentHelp(
            "A file to write once ready, in one step, with the pid and the URLs as JSON.", valueName: "path"))
    var readyFile: String?

    @Option(help: ArgumentHelp("The least severe log level shown: trace to critical.", valueName: "level"))
    var logLevel: Logger.Level = .info

    @Option(help: ArgumentHelp("When one worker logs what is stored, as a line of cron, in UTC.", valueName: "cron"))
    var report: String?

    @Option(help: ArgumentHelp("How log lines are written: text or json.", valueName: "format"))
    var logFormat: LogFormat = .text

    func validate() throws {
        do {
            _ = try report.map { try Schedule.cron($0) }
        } catch {
            throw ValidationError("'--report': \(error).")
        }
        guard (1...10_000).contains(loops) else {
            throw ValidationError("'--loops' must be from 1 to 10000, not \(loops).")
        }
        guard interval.duration >= FixedIntervalLoopingCall.shortestInterval else {
            throw ValidationError(
                "'--interval' must be \(FixedIntervalLoopingCall.shortestInterval) or more, not \(interval.text).")
        }
        if let livenessLimit, livenessLimit.duration <= .zero {
            throw ValidationError("'--liveness-limit' must be above zero.")
        }
        if let abortGrace, abortGrace.duration <= .zero {
            throw ValidationError("'--abort-grace' must be above zero.")
        }
        guard idleGrace.duration >= .zero else { throw ValidationError("'--idle-grace' must not be negative.") }
        if let startupTimeout, startupTimeout.duration < .zero {
            throw ValidationError("'--startup-timeout' must not be negative; 0 waits for ever.")
        }
        guard (0...1000).contains(workers) else {
            throw ValidationError("'--workers' must be from 0 to 1000, not \(workers).")
        }
        guard (0...1000).contains(warmSpares) else {
            throw ValidationError("'--warm-spares' must be from 0 to 1000, not \(warmSpares).")
        }
        guard (0...100).contains(canaryPercent) else {
            throw ValidationError("'--canary-percent' must be from 0 to 100, not \(canaryPercent).")
        }
        guard canaryPercent == 0 || canaryBackend != nil else {
            throw ValidationError(
                "'--canary-percent' needs '--canary-backend' to say which backend the canaries run on.")
        }
    }

    func run() throws {
        let (level, format) = (logLevel, logFormat)
        LoggingSystem.bootstrap { label in
            var handler: any LogHandler =
                switch format {
                case .text: StreamLogHandler.standardError(label: label)
                case .json: JSONLogHandler(label: label)
                }
            handler.logLevel = level
            return MusterLogHandler(handler, label: label)
        }
        let backend = try BackendOption.ofEnvironment()
        let plan = CanaryPlan(percent: canaryPercent)
        let canary = canaryBackend?.type
        // A backend of the application's own.
        try Backend.registerGlobalPool()
        // The application's own choice, as every application makes it: there is no option of Muster's for it.
        Backend.registerDefaultHook {
            if let canary, let slot = workerSlot(), plan.isCanary(slot: slot) { return canary }
            return backend
        }
        let source = SettingsSource(
            endpoint: endpoint?.address, webConfigFile: webConfigFile, opensProbes: openProbes,
            livenessLimit: livenessLimit?.duration, abortGrace: abortGrace?.duration,
            gracefulShutdownTimeout: gracefulShutdownTimeout?.duration, restartMethod: restartMethod,
            startupTimeout: startupTimeout?.duration)
        let folder = try DataFolder(named: data)
        let status = workers == 0 ? try runAlone(source, folder) : try runWorkers(source, folder)
        folder.remove()
        status.exit()
    }

    private func service(at socket: ListeningSocket, _ folder: DataFolder) throws -> StoreService {
        try StoreService(
            at: socket, folder: folder.path, limit: dataLimit.bytes, shards: loops, interval: interval.duration,
            volumeInterval: checkVolume?.duration, idleGrace: idleGrace.duration,
            report: report.map { try .cron($0) }, metrics: .shared,
            describe: describeProcess)
    }

    /// Everything in this process.
    private func runAlone(_ source: SettingsSource, _ folder: DataFolder) throws -> Muster.ExitStatus {
        let launcher = try ServiceLauncher(name: "store", settings: source.load())
        let socket = try launcher.listen("http", on: http.address, setting: "--http", backlog: Self.backlog)
        try launcher.launchService(service(at: socket, folder))
        return wait(for: launcher, at: socket)
    }

    /// A supervisor and its workers, which share the listening socket.
    private func runWorkers(_ source: SettingsSource, _ folder: DataFolder) throws -> Muster.ExitStatus {
        let launcher = try ProcessLauncher(settings: source.load())
        let socket = try launcher.listen("http", on: http.address, setting: "--http", backlog: Self.backlog)
        try launcher.launchService(
            service(at: socket, folder), workers: workers, options: WorkerOptions(warmSpares: warmSpares))
        return wait(for: launcher, at: socket)
    }

    private static let backlog: Int32 = 4096

    private func wait(for launcher: some MainLauncher, at socket: ListeningSocket) -> Muster.ExitStatus {
        let count = workers
        let file = readyFile
        launcher.whenReady {
            announce(store: socket.address.url ?? "", workers: count, launcher: launcher, file: file)
        }
        return launcher.wait()
    }
}

/// The slot that this process fills, if it is a worker.
private func workerSlot() -> Int? { Worker.current?.slot }

/// What the process says of itself on the store's first page.
@Sendable
private func describeProcess() -> String {
    let slot = workerSlot().map { ", worker \($0)" } ?? ""
    return "muster-demo, pid \(getpid()), backend \(Backend.selection?.type.rawValue ?? "?")\(slot)"
}

/// Tells the user, and whoever waits for the file, where everything is.
private func announce(store: String, workers: Int, launcher: any MainLauncher, file: String?) {
    let endpoint = launcher.monitoring.url ?? ""
    let who =
        if workers > 0 {
            "\(workers) workers"
        } else if let selection = Backend.selection {
            "backend \(selection.type) (chosen by: \(selection.source.rawValue))"
        } else {
            "no backend"
        }
    // In the foreground of a terminal SIGHUP ends it, as it ends any program.
    let reloads = workers > 0 && tcgetpgrp(STDOUT_FILENO) != getpgrp()
    print(
        """
        muster-demo is ready, pid \(getpid()), \(who)
          store     \(store)/
          status    \(endpoint)/
          metrics   \(endpoint)/metrics
          liveness  \(endpoint)/livez?verbose
          readiness \(endpoint)/readyz?verbose
        Ctrl-C ends it at once, SIGTERM gracefully\(reloads ? ", SIGHUP replaces the workers one by one" : "").
        """)
    fflush(nil)
    guard let file else { return }
    do {
        try ReadyFile(pid: getpid(), http: store, endpoint: endpoint).write(to: file)
    } catch {
        Logger(label: "muster-demo").error("ready file is not written", metadata: ["error": "\(error)"])
        launcher.stop(.failure)
    }
}

/// Where the demo's settings come from: options of the command line, then the environment, then the settings file.
///
/// `nil` stands for an option that was not given.
struct SettingsSource: Sendable {
    let endpoint: ListenAddress?
    let webConfigFile: String?
    /// `false` stands for an option that was not given.
    let opensProbes: Bool
    let livenessLimit: Duration?
    let abortGrace: Duration?
    let gracefulShutdownTimeout: Duration?
    let restartMethod: RestartMethod?
    let startupTimeout: Duration?

    /// Reads them; once more at a reload, as the file may have changed.
    ///
    /// - Throws: `SettingsError` for a value that cannot be used; what reading the file throws.
    @Sendable
    func load() throws -> MusterSettings {
        var settings = try MusterSettings.load()
        if let endpoint {
            settings.endpoint = settings.endpoint ?? EndpointConfiguration()
            settings.endpoint?.address = endpoint
            settings.endpoint?.addressSetting = "--endpoint"
        }
        if let webConfigFile {
            settings.endpoint?.webConfigFile = webConfigFile
            settings.endpoint?.webConfigFileSetting = "--web-config-file"
        }
        if opensProbes { settings.endpoint?.opensProbes = true }
        if let livenessLimit { settings.livenessLimit = livenessLimit }
        if let abortGrace { settings.abortGrace = abortGrace }
        if let gracefulShutdownTimeout { settings.gracefulShutdownTimeout = gracefulShutdownTimeout }
        if let restartMethod { settings.restartMethod = restartMethod }
        if let startupTimeout { settings.startupTimeout = startupTimeout }
        settings.source = load
        return settings
    }
}

/// What a program that has started the demo wants to know.
struct ReadyFile {
    let pid: Int32
    let http: String
    let endpoint: String

    /// Writes the file under another name first, so that nobody reads half of it.
    ///
    /// - Throws: `SystemError`.
    func write(to path: String) throws {
        let text = "{\"pid\": \(pid), \"http\": \"\(http)\", \"endpoint\": \"\(endpoint)\"}\n"
        let temporary = "\(path).\(pid).tmp"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw SystemError("open \(temporary)") }
        var bytes = Array(text.utf8)
        let count = Glibc.write(descriptor, &bytes, bytes.count)
        close(descriptor)
        guard count == bytes.count, rename(temporary, path) == 0 else {
            let error = SystemError("write \(path)")
            unlink(temporary)
            throw error
        }
    }
}
