// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import MusterHealth
import MusterLock
import MusterMetrics
import MusterPlatform
import MusterSupervision

/// What a ``ProcessLauncher`` does in the supervisor: it connects the ``Supervisor`` to signals, settings, the endpoint
/// and systemd.
final class SupervisorProgram: LaunchedProgram {
    private typealias Life = ProgramLife<SupervisorEvent>

    let life: ProgramLife<SupervisorEvent>
    let monitoring: Monitoring
    /// The application's checks; the supervisor runs none of them.
    let health = HealthRegistry(runner: { _, _ in })

    private let launched: LaunchedServices
    private let sockets: SocketTable
    private let logger: Logger
    private let published = PublishedSupervisor()
    private let metrics: SupervisorMetrics
    private let checks: SupervisorHealth
    private let manager: ServiceManagerLink
    private let settings: Locked<MusterSettings>
    private let settingsWatch = Locked<SettingsWatch?>(nil)

    init(
        settings: MusterSettings, launched: LaunchedServices, sockets: SocketTable, logger: Logger
    ) throws {
        self.launched = launched
        self.sockets = sockets
        self.logger = logger
        life = ProgramLife(logger: { logger })
        self.settings = Locked(settings)
        let registry = MetricRegistry.shared
        metrics = try SupervisorMetrics(of: published, registry: registry)
        checks = SupervisorHealth(of: published, settings: settings)
        monitoring = try Monitoring(
            supervisor: metrics, health: checks, status: SupervisorStatus(of: published, launched: launched),
            registry: registry, settings: settings, logger: logger)
        manager = ServiceManagerLink(health: monitoring.health, logger: logger)
    }

    var failure: (any Error)? { life.failure }

    func stop(_ status: ExitStatus) {
        life.submit(.end(status: status.rawValue))
    }

    // MARK: Running

    func wait() -> ExitStatus {
        life.wait(on: makeLoop) { loop in
            loop.submit { [self] in begin(on: loop) }
        }
    }

    func run() async -> ExitStatus {
        await life.run(end: .end(status: ExitStatus.success.rawValue)) {
            let loop = try makeLoop()
            // For as long as the process lives: the workers die with the thread that has started them.
            try loop.attachThread(name: "muster-super")
            loop.submit { [self] in begin(on: loop) }
        }
    }

    private func makeLoop() throws -> EventLoop {
        try EventLoop(name: "muster-supervisor", parking: .descriptors)
    }

    private func begin(on loop: EventLoop) {
        do {
            let settings = settings.withLock { $0 }
            let services = launched.all
            guard !services.isEmpty else { throw LaunchError.nothingLaunched }
            try Life.checkThreads()
            if let obstacle = Surroundings.obstacle { throw LaunchError.impossible(obstacle) }
            for warning in Surroundings.warnings { logger.warning("\(warning)") }
            settings.log(to: logger)
            let exposition = monitoring.exposition
            let supervisor = Supervisor(
                plan: plan(services, settings), loop: loop, registry: .shared, logger: logger,
                addSource: { exposition.add($0) })
            for launched in services { metrics.add(group: launched.service.name) }
            supervisor.setObserver(self)
            published.publish(supervisor)
            checks.expect(health)
            SignalCenter.shared.deliver(on: loop)
            try subscribe(supervisor)
            monitoring.startConsole { [unowned self] in
                try DiagnosticsConsole.start(settings.console, in: consoleDependencies, logger: logger)
            }
            try monitoring.start()
            supervisor.handle(.begin)
            life.open { event in loop.submit { supervisor.handle(event) } }
            LogLevels.shared.whenChanged { [weak supervisor] in
                guard let supervisor else { return }
                loop.submit { supervisor.sendLogLevels() }
            }
            manager.watch(supervisor)
            let watch = SettingsWatch.begin(
                settings, on: loop, logger: logger,
                inForce: { [self] in self.settings.withLock { $0.fileContent } }, reload: { [self] in restart() })
            settingsWatch.withLock { $0 = watch }
        } catch {
            end(life.refuse(error))
        }
    }

    private func plan(_ services: [LaunchedService], _ settings: MusterSettings) -> SupervisorPlan {
        var plan = SupervisorPlan(
            configuration: SupervisorConfiguration(
                groups: services.map { $0.group(settings) }, shutdownDelay: settings.shutdownDelay,
                jitterSeed: UInt64(bitPattern: MonotonicInstant.now.nanoseconds)),
            program: CommandLine.arguments.first ?? "", arguments: SpawnRequest.ownArguments,
            environment: WorkerEnvironment.make(),
            livenessLimit: settings.livenessLimit, arenaCapacity: settings.arenaCapacity)
        plan.startMethod = settings.startMethod
        plan.restartsEarly = settings.restartsEarly
        plan.sockets = sockets.plan
        plan.settings = settings.loaded.map { WorkerSettings($0) }
        return plan
    }

    // MARK: Signals

    private func subscribe(_ supervisor: Supervisor) throws {
        try subscribe(SIGCHLD, supervisor.loop, isCounted: false) { [unowned supervisor] in
            supervisor.childrenChanged()
        }
        let events: [(Int32, SupervisorEvent)] = [
            (SIGTERM, .terminate), (SIGINT, .interrupt), (SIGTTIN, .addWorker), (SIGTTOU, .removeWorker),
        ]
        for (number, event) in events {
            try subscribe(number, supervisor.loop) { [unowned supervisor] in supervisor.handle(event) }
        }
        try subscribe(SIGHUP, supervisor.loop) { [unowned self, unowned supervisor] in
            if life.endsAtHangUp() { return supervisor.handle(.end(status: ExitStatus.success.rawValue)) }
            restart()
        }
        try subscribe(SIGUSR2, supervisor.loop) { [unowned self, unowned supervisor] in report(supervisor) }
    }

    private func subscribe(
        _ number: Int32, _ loop: EventLoop, isCounted: Bool = true, _ body: @escaping @Sendable () -> Void
    ) throws {
        try life.subscribe(UnixSignal(rawValue: number), countedBy: isCounted ? metrics.signals : nil) {
            // Another loop's thread receives the signals when the program has handlers of its own.
            if loop.isCurrent { body() } else { loop.submit(body) }
        }
    }

    /// Reads the settings again and, if they are valid, reloads as they say.
    func restart() {
        guard let supervisor = published.supervisor else {
            // It follows the start, which goes by the settings that there are.
            return life.submit(settings.withLock { $0.restartMethod } == .mutate ? .mutate : .reload)
        }
        guard supervisor.loop.isCurrent else { return supervisor.loop.submit { [self] in restart() } }
        do {
            if let settings = try settings.withLock({ $0.source })?() { apply(settings, supervisor) }
        } catch {
            logger.error("invalid settings; keeping the previous ones", metadata: ["error": "\(error)"])
            return supervisor.handle(.reloadRefused)
        }
        switch settings.withLock({ $0.restartMethod }) {
        case .reload: supervisor.handle(.reload)
        case .mutate: supervisor.handle(.mutate)
        }
    }

    private func apply(_ read: MusterSettings, _ supervisor: Supervisor) {
        let (before, settings) = settings.withLock { settings in
            let before = settings
            settings = settings.takingUp(read)
            return (before, settings)
        }
        settings.logChanges(since: before, to: logger)
        checks.take(settings)
        supervisor.take(settings.loaded.map { WorkerSettings($0) }, livenessLimit: settings.livenessLimit)
        supervisor.handle(.reconfigure(launched.all.map { $0.group(settings) }))
        logger.info("settings reloaded")
    }

    // MARK: The console

    private var consoleDependencies: ConsoleHost.Dependencies {
        let (published, launched, life) = (published, launched, life)
        return ConsoleHost.Dependencies(
            status: SupervisorStatus(of: published, launched: launched), health: monitoring.health,
            exposition: monitoring.exposition,
            settings: { [weak self] in self?.settings.withLock { $0 } ?? MusterSettings() },
            readers: {
                guard let report = published.report else { return [] }
                return report.snapshot.groups.flatMap { group in
                    group.slots.compactMap { slot in
                        guard slot.state != .empty, let kept = report.slots[slot.worker] else { return nil }
                        return ConsoleHost.Reader(
                            group: group.configuration.name, slot: slot.worker.slot, series: kept.source)
                    }
                }
            },
            reload: { [weak self] in self?.restart() },
            stop: { life.submit(.end(status: ExitStatus.success.rawValue)) },
            scale: { name, workers in
                guard let group = launched.index(of: name) else {
                    return ConsoleAnswer(.failed, "there is no group '\(name)'")
                }
                life.submit(.scale(group: group, to: workers))
                return ConsoleAnswer(.ok, "scaling \(name) to \(PlainText.count(workers, "worker"))")
            },
            replace: { name in
                for group in published.report?.snapshot.groups ?? [] {
                    for slot in group.slots where "\(group.configuration.name)/\(slot.worker.slot)" == name {
                        guard slot.worker.slot < group.workers else { continue }
                        life.submit(.replace(slot.worker))
                        return ConsoleAnswer(.ok, "replacing \(name)")
                    }
                }
                return ConsoleAnswer(.failed, "there is no worker '\(name)'; a worker is named as GROUP/SLOT")
            },
            relay: ConsoleRelay(published), name: "supervisor", worker: ConsoleWorker { nil },
            inspected: { target in
                if target == "supervisor" { return [.own("supervisor")] }
                guard let report = published.report else { return [] }
                return report.snapshot.groups.flatMap { group in
                    group.slots.compactMap { slot in
                        guard ConsoleRelay.matches(target, group.configuration.name, slot.worker.slot),
                            let process = slot.incarnation.flatMap({ report.processes[$0] })
                        else { return nil }
                        return InspectedProcess(name: "\(group.configuration.name)/\(slot.worker.slot)") {
                            ProcessInspector(pid: process.pid, area: process.vitalSigns.inspection)
                        }
                    }
                }
            })
    }

    private func report(_ supervisor: Supervisor) {
        for line in SupervisorSummary(supervisor.report).lines { logger.notice("state: \(line)") }
    }

    private func end(_ status: ExitStatus) {
        settingsWatch.withLock { $0.take() }?.end()
        sockets.close()
        monitoring.stop()
        life.finish(status)
    }
}

/// The supervisor, once there is one, for its metrics, health checks and status.
final class PublishedSupervisor: Sendable {
    private let state = Locked<Supervisor?>(nil)

    func publish(_ supervisor: Supervisor) {
        state.withLock { $0 = supervisor }
    }

    var supervisor: Supervisor? { state.withLock { $0 } }

    var report: SupervisorReport? { supervisor?.report }
}

extension SupervisorProgram: SupervisorObserver {
    func supervisor(_ supervisor: Supervisor, records notice: SupervisorNotice) {
        switch notice {
        case .started(_, let incarnation): metrics.started(incarnation)
        case .ready(let worker, let incarnation):
            metrics.ready(incarnation, group: supervisor.groupName(worker.group))
        case .died(let death): metrics.died(death, group: supervisor.groupName(death.group))
        case .reloadBegan: metrics.reloadBegan()
        case .reloadEnded(.refused): metrics.reloadEnded(.refused, method: settings.withLock { $0.restartMethod })
        case .reloadEnded(let outcome): metrics.reloadEnded(outcome, method: .reload)
        case .resetEnded(let outcome): metrics.reloadEnded(outcome, method: .mutate)
        default: break
        }
        manager.record(notice, supervisor)
    }

    func supervisorDidChange(_ supervisor: Supervisor) {
        manager.update(supervisor)
        guard supervisor.isEveryWorkerReady else { return }
        for action in life.setReady(true) { action() }
    }

    func supervisorStopsWorkers(_ supervisor: Supervisor) {
        // With the workers' own descriptors closed too, new connections are refused instead of forgotten.
        sockets.close()
    }

    func supervisor(_ supervisor: Supervisor, finishedWith status: Int32) {
        end(ExitStatus(rawValue: status))
    }
}

extension LaunchedService {
    /// The group as the supervisor knows it.
    func group(_ settings: MusterSettings) -> WorkerGroupConfiguration {
        WorkerGroupConfiguration(
            name: service.name, workers: workers, warmSpares: options.warmSpares, policy: options.restartPolicy,
            backoff: options.backoff ?? settings.restartBackoff,
            intensity: options.intensity ?? settings.restartIntensity, startupTimeout: settings.startupTimeout,
            stopTimeout: settings.gracefulShutdownTimeout, abortGrace: settings.abortGrace,
            recycle: options.recycle ?? settings.recycle)
    }
}

/// The state of the workers as lines of the log (SIGUSR2).
struct SupervisorSummary {
    let lines: [String]

    init(_ report: SupervisorReport) {
        var lines: [String] = []
        for group in report.snapshot.groups {
            let ready = group.slots.count { $0.state == .ready }
            let name = group.configuration.name
            lines.append("\(name): \(ready) of \(group.workers) workers ready, \(group.sparesParked) warm spares")
            for slot in group.slots {
                var line = "\(name)/\(slot.worker.slot): \(slot.state)"
                if let incarnation = slot.incarnation, let process = report.processes[incarnation] {
                    line += ", pid \(process.pid)\(process.stoppedSince != nil ? " (stopped)" : "")"
                }
                line += ", started \(slot.starts) times"
                let restarts = DeathReason.allCases.filter { slot.restartsByReason[$0] > 0 }
                    .map { "\($0.rawValue) \(slot.restartsByReason[$0])" }
                if !restarts.isEmpty { line += ", restarts: \(restarts.joined(separator: ", "))" }
                lines.append(line)
            }
        }
        self.lines = lines
    }
}

/// The program of Swift's toolchain that writes the backtraces of a crash.
///
/// A statically linked program brings the runtime's crash handler along, but not that program: it has to lie beside
/// the executable, or the toolchain has to be on the machine. A worker's name in the process list is not its path, so
/// that the runtime would not find it by itself.
enum BacktraceSupport {
    private static let names = ["swift-backtrace", "swift-backtrace-static"]
    /// All threads, without what only a debugger could use. `threads=all`, which should say the same, leaves all but
    /// the crashed one out in Swift 6.3.
    private static let options = "preset=full,registers=none,images=none,color=no,interactive=no,output-to=stderr"

    /// What the environment variable `SWIFT_BACKTRACE` of a worker should be.
    static var environmentValue: String {
        guard let path = helper, !path.contains(",") else { return options }
        return "\(options),swift-backtrace=\(path)"
    }

    /// The program's path: beside the executable, in `$SWIFT_ROOT`, or in the toolchain that `PATH` leads to.
    static var helper: String? {
        var folders: [String] = []
        if let folder = resolved("/proc/self/exe").map(parent) { folders.append(folder) }
        if let root = getenv("SWIFT_ROOT").map({ String(cString: $0) }), !root.isEmpty {
            folders.append("\(root)/libexec/swift/linux")
        }
        for folder in (getenv("PATH").map { String(cString: $0) } ?? "").split(separator: ":") {
            if let swift = resolved("\(folder)/swift") {
                folders.append("\(parent(parent(swift)))/libexec/swift/linux")
            }
        }
        for folder in folders {
            for name in names where access("\(folder)/\(name)", X_OK) == 0 { return "\(folder)/\(name)" }
        }
        return nil
    }

    private static func resolved(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    private static func parent(_ path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? path
    }
}

/// The environment of a worker: the supervisor's, without what is the supervisor's alone.
enum WorkerEnvironment {
    static func make() -> ProcessEnvironment {
        var environment = ProcessEnvironment.inherited
        // The supervisor passes systemd's sockets on, and only the supervisor notifies systemd.
        for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            environment[name] = nil
        }
        if environment["SWIFT_BACKTRACE"] == nil { environment["SWIFT_BACKTRACE"] = BacktraceSupport.environmentValue }
        return environment
    }
}
