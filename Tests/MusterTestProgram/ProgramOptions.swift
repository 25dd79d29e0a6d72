// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import Muster

/// What the tests ask of the program, besides the settings: arguments of the form `--name=value`.
struct ProgramOptions: Sendable {
    private let values: [String: String]

    init() {
        var values: [String: String] = [:]
        for argument in CommandLine.arguments.dropFirst() {
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            values[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
        }
        self.values = values
    }

    private func value(_ name: String) -> String? { values["--\(name)"] }

    var workers: Int { value("workers").flatMap { Int($0) } ?? 2 }
    var socket: ListenAddress {
        get throws { try ListenAddress(parsing: value("socket") ?? "127.0.0.1:0") }
    }
    var services: [String] { (value("services") ?? "test").split(separator: ",").map(String.init) }
    var inProcess: Bool { values["--in-process"] != nil }
    var isAsynchronous: Bool { values["--asynchronous"] != nil }
    /// A variable that is not the demo's, for programs that start this one under several backends.
    var backend: BackendType {
        let variable = getenv("TEST_BACKEND").map { String(cString: $0) }
        return BackendType(variable ?? value("backend") ?? "cooperative")
    }
    /// How long each run of a looping call lasts on a backend: `--work=cooperative:20ms,threading:24ms`.
    func work(on backend: BackendType) -> Duration? {
        let entries = (value("work") ?? "").split(separator: ",").map { $0.split(separator: ":").map(String.init) }
        return entries.first { $0.first == backend.rawValue }?.last.flatMap { Duration(parsing: $0) }
    }
    /// The backend that is chosen by the program instead of its hook.
    var explicitBackend: BackendType? { value("explicit-backend").map { BackendType($0) } }
    var canarySlot: Int? { value("canary-slot").flatMap { Int($0) } }
    /// What `start` does: nothing, `fail`, `hang`, `trap`, `exit:CODE`, `block`; with `@PATH` only once the file is there.
    func start(of service: String) -> String { isMeant(service) ? value("start") ?? "" : "" }
    /// The only slot whose `start` does so; all when nil.
    var startSlot: Int? { value("start-slot").flatMap { Int($0) } }
    /// What `stop` does: `hang` for ever, `forget` its thread group, or nothing else than to stop that.
    func stop(of service: String) -> String { isMeant(service) ? value("stop") ?? "" : "" }
    /// The one service that `start` and `stop` are for; all when nil.
    private func isMeant(_ service: String) -> Bool { value("only").map { $0 == service } ?? true }
    /// Whether to say only what kind of process this is.
    var tellsRole: Bool { values["--tell-role"] != nil }
    /// Whether the service has a looping call of 10 ms.
    var hasLoop: Bool { values["--loop"] != nil }
    /// What the service's periodic task of one worker does: it hangs, or counts.
    var periodic: String? { value("periodic") }
    /// What a dynamic timer of the service does in each run: see `CommandService.addTimer`.
    var timer: String? { value("timer") }
    /// Whether the program is killed when its standard input ends, as it does with the test that has started it.
    var endsWithInput: Bool { values["--end-with-input"] != nil }
    /// Whether the service has a thread that lasts until it is cancelled, and says so.
    var hasLongJob: Bool { values["--long-job"] != nil }
    /// What the program sets after it has loaded the settings.
    /// Whether the program restarts its services before it waits.
    var crashesEarly: Bool { values["--crash-early"] != nil }
    var restartsEarly: Bool { values["--restart-early"] != nil }
    var setMethod: RestartMethod? { value("set-method").flatMap(RestartMethod.init(rawValue:)) }
    var setTimeout: Duration? { value("set-timeout").flatMap { Duration(parsing: $0) } }
    /// What it gives to its launcher.
    var method: RestartMethod? { value("method").flatMap(RestartMethod.init(rawValue:)) }
    /// Whether the program handles SIGUSR1.
    var handlesUserSignal: Bool { values["--user-signal"] != nil }
    var failsToReset: Bool { value("reset") == "fail" }
    var isQuiet: Bool { values["--quiet"] != nil }
    /// A log level that the supervisor sets once it is ready: `--log-level=LABEL=LEVEL`.
    var logLevel: (label: String, level: Logger.Level)? {
        let parts = (value("log-level") ?? "").split(separator: "=").map(String.init)
        return parts.last.flatMap(Logger.Level.init(rawValue:)).map { (parts[0], $0) }
    }
    var hasCheck: Bool { values["--check"] != nil }
    /// Whether the service has a check of the level live that reports once only.
    var hasLiveCheck: Bool { values["--live-check"] != nil }
    /// Whether the service has a probe and an asynchronous check, which both pass.
    var hasRunningChecks: Bool { values["--running-checks"] != nil }
    /// Whether the program expects a check that only a command registers.
    var expectsPlugins: Bool { values["--expect-plugins"] != nil }

    var workerOptions: WorkerOptions {
        var options = WorkerOptions(warmSpares: value("spares").flatMap { Int($0) } ?? 0)
        if let policy = value("policy").flatMap(RestartPolicy.init(rawValue:)) { options.restartPolicy = policy }
        return options
    }
}
