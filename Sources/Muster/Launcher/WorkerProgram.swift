// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import Logging
import MusterEndpoint
import MusterExecution
import MusterHealth
import MusterLock
import MusterMetrics
import MusterPlatform
import MusterSupervision

/// What a ``ProcessLauncher`` does in a worker: it runs one launched service and reports to the supervisor.
final class WorkerProgram: LaunchedProgram {
    let health: HealthRegistry
    let monitoring: Monitoring

    private let life: ServiceRunner.Life
    private let marker: WorkerMarker
    private let settings: MusterSettings
    private let launched: LaunchedServices
    private let sockets: SocketTable
    private let chosenBackend: Backend?
    private let channel: ControlChannel
    private let vitalSigns: VitalSignsWriter?
    private let runner = Locked<ServiceRunner?>(nil)
    /// When the supervisor will kill this process, once it has said so.
    private let toldDeadline = Locked<MonotonicInstant??>(.none)
    private let stopListening = Locked<(@Sendable () -> Void)?>(nil)
    private let backend: Locked<Backend?>
    /// For the process list; a warm spare that takes over a slot has other things to do than to ask for its arguments.
    private let programName = String(CommandLine.arguments.first?.split(separator: ":").first ?? "")
    /// The console of this process alone, if there is one.
    private let console = Locked<DiagnosticsConsole?>(nil)

    init(
        marker: WorkerMarker, settings: MusterSettings, launched: LaunchedServices, sockets: SocketTable,
        backend: Backend?, logger: Logger
    ) throws {
        self.marker = marker
        self.settings = settings
        InheritedSettings.keep(settings)
        self.launched = launched
        self.sockets = sockets
        chosenBackend = backend
        let current = Locked(backend)
        self.backend = current
        Worker.identifyLogs()
        let channel = ControlChannel(descriptor: OwnedDescriptor(marker.control))
        self.channel = channel
        Worker.connect(channel)
        life = ServiceRunner.Life(
            logger: { logger }, failed: { channel.send(.startFailed(reason: "\($0)")) })
        let life = life
        do {
            let vitalSigns = try VitalSignsWriter(descriptor: marker.vitalSigns) { channel.send(.active) }
            // Another thread could end before the process does.
            if NativeThread.isMain { vitalSigns.holdBell() }
            // Whoever asks to look at the threads hears why it is not possible.
            try? vitalSigns.allowInspection()
            self.vitalSigns = vitalSigns
        } catch {
            // The supervisor then takes it for a worker that is always idle.
            logger.error("hang detection unavailable for this worker", metadata: ["error": "\(error)"])
            vitalSigns = nil
        }
        let health = HealthRegistry(
            runner: { name, work in
                do {
                    let backend = try current.withLock { $0 } ?? Backend.current
                    try backend.engine.spawn(name: name, work)
                } catch {
                    life.logger.warning("cannot run health check", metadata: ["check": "\(name)", "error": "\(error)"])
                }
            }, logger: logger)
        self.health = health
        monitoring = Monitoring(health: health, exposition: Exposition(sources: [], logger: logger), endpoint: nil)
        // Those that it may have inherited are the supervisor's.
        cmuster_ask_for_slices(0)
        // For the supervisor, which ends a hung worker so that its backtraces are written, and does not wait for them for ever.
        cmuster_report_crashes(channel.descriptor.rawValue, ControlMessage.crashingByte)
        guard try ParentWatch.arm(supervisor: marker.supervisor) else {
            logger.notice("supervisor is gone; exiting")
            ExitStatus.failure.exit()
        }
    }

    private var logger: Logger { life.logger }

    var failure: (any Error)? { life.failure }

    func stop(_ status: ExitStatus) {
        life.submit(.end(status))
    }

    func restart() {
        life.submit(.hangUp)
    }

    // MARK: Running

    func wait() -> ExitStatus {
        do {
            return try prepared().wait { [self] loop in
                if let vitalSigns { loop.publishTurns(to: vitalSigns.turns) }
                try begin(on: loop)
            }
        } catch {
            return life.refuse(error)
        }
    }

    func run() async -> ExitStatus {
        do {
            let runner = try prepared()
            if let hub = backend.withLock({ $0 })?.engine.sharedLoop, let vitalSigns {
                hub.submit { hub.publishTurns(to: vitalSigns.turns) }
            }
            let loop = EventLoop.auxiliary
            // Awaited, so that the supervisor sees the checks before it hears that the worker is ready.
            await withCheckedContinuation { continuation in
                loop.submit { [self] in
                    do {
                        try begin(on: loop)
                    } catch {
                        logger.error("cannot receive the supervisor's messages", metadata: ["error": "\(error)"])
                    }
                    continuation.resume()
                }
            }
            return await runner.run()
        } catch {
            return life.refuse(error)
        }
    }

    /// Waits for a slot if it is a warm spare, and sets up what the service runs on.
    private func prepared() throws -> ServiceRunner {
        let services = launched.all.map(\.service)
        guard services.indices.contains(marker.group), services[marker.group].name == marker.name else {
            throw LaunchError.unknownGroup(marker.name, launched: launched.names)
        }
        let service = services[marker.group]
        if let slot = marker.slot {
            assign(slot)
            return try makeRunner(of: service, on: chosenBackend ?? Backend.current)
        }
        setTitle("\(marker.name)/spare")
        _ = MetricRegistry.shared
        DryRun.run(
            service: marker.name, on: chosenBackend?.type ?? Backend.selection?.type, settings: settings)
        // As much as can be done without the slot, which a hook may depend on.
        let backend = try chosenBackend ?? (BackendSelector.shared.needsHook ? nil : Backend.current)
        let runner = try backend.map { try makeRunner(of: service, on: $0) }
        backend?.engine.reserveThread()
        assign(waitForSlot())
        return try runner ?? makeRunner(of: service, on: Backend.current)
    }

    private func assign(_ slot: Int) {
        let worker = Worker(group: marker.name, slot: slot)
        Worker.assign(worker)
        setTitle("\(worker)")
    }

    private func makeRunner(of service: any ServiceBase, on backend: Backend) throws -> ServiceRunner {
        self.backend.withLock { $0 = backend }
        let channel = channel
        let sockets = sockets
        backend.lease.connect { channel.send($0) }
        if let vitalSigns { backend.loops.publish(to: vitalSigns) }
        var dependencies = ServiceRunner.Dependencies(exitNow: { cmuster_exit_now($0.rawValue) })
        dependencies.sockets = sockets
        // Or the loop would get another thread for it.
        dependencies.finished = { [stopListening, console] in
            stopListening.withLock { $0.take() }?()
            console.withLock { $0.take() }?.stop()
        }
        // The message comes before the signal, but may be read after it.
        dependencies.toldDeadline = { [self] in
            _ = receiveMessages()
            return toldDeadline.withLock { $0 }
        }
        let runner = try ServiceRunner(
            life, backend: backend, settings: settings, watch: .ownLoop, dependencies: dependencies)
        try runner.services.register(service)
        life.whenReady { [self] in
            // Not before: the slot's former worker keeps its place if this one fails to start.
            if settings.console?.isForEachWorker == true { startConsole() }
            channel.send(.ready)
        }
        self.runner.withLock { $0 = runner }
        return runner
    }

    /// A warm spare sleeps here until a slot is free. Signals have their default action meanwhile.
    private func waitForSlot() -> Int {
        channel.send(.parked)
        // Until it has been woken: those who die meanwhile, or serve, may be on its processor.
        cmuster_ask_for_slices(UInt64(CMUSTER_SHORT_SLICE))
        defer { cmuster_ask_for_slices(0) }
        while true {
            switch channel.receiveBlocking() {
            case .message(.takeOver(let slot)): return slot
            case .message(.logLevels(let rules)): LogLevels.shared.take(rules)
            case .message, .request, .malformed, .nothing: continue
            case .closed:
                logger.notice("supervisor is gone; exiting")
                ExitStatus.failure.exit()
            }
        }
    }

    private func setTitle(_ worker: String) {
        ProcessTitle.set(WorkerTitle.long(program: programName, worker: worker), shortName: worker)
    }

    /// Connects the worker to its supervisor.
    private func begin(on loop: EventLoop) throws {
        HealthPublisher(health: health, vitalSigns: vitalSigns, loop: loop, logger: logger).begin()
        let stop = try Self.listen(to: channel, on: loop) { [self] in
            guard receiveMessages() else { return false }
            logger.notice("supervisor is gone; stopping")
            life.submit(.end(.failure))
            return true
        }
        stopListening.withLock { $0 = stop }
    }

    private var consoleWorker: ConsoleWorker {
        ConsoleWorker { [backend] in backend.withLock { $0 } }
    }

    /// A worker without its console does its work all the same.
    private func startConsole() {
        do {
            guard let worker = Worker.current, let backend = backend.withLock({ $0 }) else { return }
            let console = try DiagnosticsConsole.start(
                settings.console, of: worker, backend: backend, health: health, logger: logger,
                settings: { [runner, settings] in runner.withLock { $0 }?.settings ?? settings },
                state: { [runner] in runner.withLock { $0 }?.workerState ?? .finished },
                reload: { [life] in life.submit(.hangUp) }, stop: { [life] in life.submit(.end(.success)) })
            self.console.withLock { $0 = console }
        } catch {
            logger.error("diagnostics console unavailable", metadata: ["error": "\(error)"])
        }
    }

    /// - Parameter receive: Called when there are messages; returns whether the supervisor is gone.
    /// - Returns: Ends it.
    fileprivate static func listen(
        to channel: ControlChannel, on loop: EventLoop, receive: @escaping @Sendable () -> Bool
    ) throws -> @Sendable () -> Void {
        let watch = Locked<EventLoop.Watch?>(nil)
        let stop: @Sendable () -> Void = {
            guard let watch = watch.withLock({ $0.take() }) else { return }
            if loop.isCurrent { loop.unwatch(watch) } else { loop.submit { loop.unwatch(watch) } }
        }
        let made = try loop.watch(channel.descriptor.rawValue, for: .readable) { _ in
            if receive() { stop() }
        }
        watch.withLock { $0 = made }
        return stop
    }

    /// Handles the supervisor's messages; returns whether it is gone.
    private func receiveMessages() -> Bool {
        while true {
            switch channel.receive() {
            case .message(.reset(let settings)):
                if let settings { InheritedSettings.take(settings) }
                runner.withLock { $0 }?.reset { [channel] in channel.send(.hasReset(succeeded: $0)) }
            case .message(.logLevels(let rules)): LogLevels.shared.take(rules)
            case .message(.lease(let records)): backend.withLock { $0 }?.lease.grant(records)
            case .message(.stop(let deadline)): toldDeadline.withLock { $0 = .some(deadline) }
            case .request(let line, let connection): consoleWorker.answer(line, over: connection)
            case .message, .malformed: continue
            case .nothing: return false
            case .closed: return true
            }
        }
    }
}

/// What the fork server does before it forks, on a thread of its own.
@c(muster_rehearse)
func rehearse() {
    let marker = WorkerMarker(
        group: 0, name: "rehearsal", slot: 0, incarnation: 0, supervisor: 1, controlInode: 0, arena: 3, arenaInode: 0,
        vitalSigns: 4, control: 5)
    _ = WorkerMarker(decoding: marker.encoded)
    _ = BackendSelector.scoped
    DryRun.run(service: marker.name, on: nil, settings: MusterSettings())
}

/// Runs a service that does nothing from its start to its end, so that the next run is quick: code and data are in
/// memory by then, and Swift's runtime has looked up the types.
///
/// A fork server does this for its workers, and a warm spare before it parks. It selects no backend, because the program
/// may depend on the slot, and leaves no trace: metrics go into an arena of their own, nothing is logged, signals keep
/// their action, and of what a process has once it uses nothing that depends on which process it is.
private enum DryRun {
    private struct NoService: ServiceBase {
        let name: String

        func start() async throws {}
    }

    /// Runs on the calling thread.
    ///
    /// - Parameter type: The backend that the service will run on; both are tried when `nil`.
    static func run(service name: String, on type: BackendType?, settings: MusterSettings) {
        SignalCenter.dryRun()
        var settings = settings
        // Or a thread would watch over the deadline.
        settings.gracefulShutdownTimeout = .zero
        for standard in [BackendType.cooperative, .threading] where type == nil || type == standard {
            // Failures will be reported when they matter.
            try? run(NoService(name: name), on: standard, settings)
        }
    }

    private static func run(_ service: NoService, on type: BackendType, _ settings: MusterSettings) throws {
        let logger = Logger(label: "muster.dry-run", factory: { _ in SwiftLogNoOpLogHandler() })
        let registry = MetricRegistry(arena: try ArenaWriter.create(name: "muster-dry-run"), logger: logger)
        let selector = BackendSelector(metrics: registry, logger: logger)
        selector.registerDefaultHook { type }
        let backend = try selector.backend()
        defer { backend.engine.releaseThreads() }
        let file = try VitalSignsReader.create(name: "muster-dry-run")
        let vitalSigns = try VitalSignsWriter(descriptor: file.descriptor.rawValue) { true }
        backend.loops.publish(to: vitalSigns)
        let life = ServiceRunner.Life(logger: { logger })
        let stopListening = Locked<(@Sendable () -> Void)?>(nil)
        var dependencies = ServiceRunner.Dependencies(exitNow: { _ in })
        dependencies.finished = { stopListening.withLock { $0.take() }?() }
        let runner = try ServiceRunner(
            life, backend: backend, settings: settings, watch: .rehearsal, dependencies: dependencies)
        try runner.services.register(service)
        life.whenReady { [weak life] in life?.submit(.end(.success)) }
        let health = HealthRegistry(runner: { _, _ in })
        let monitoring = Monitoring(
            health: health, exposition: Exposition(sources: [], logger: logger), endpoint: nil)
        let (channel, _) = try ControlChannel.pair()
        withExtendedLifetime((channel, monitoring)) {
            _ = runner.wait { loop in
                HealthPublisher(health: health, vitalSigns: vitalSigns, loop: loop, logger: logger).begin()
                // The other end is closed already.
                let stop = try WorkerProgram.listen(to: channel, on: loop) { true }
                stopListening.withLock { $0 = stop }
            }
        }
    }
}
