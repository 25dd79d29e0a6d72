// SPDX-License-Identifier: Apache-2.0

package import Logging
import MusterEndpoint
import MusterExecution
public import MusterHealth
import MusterLock
package import MusterMetrics
import MusterPlatform

/// The metrics and health checks of a process, and the endpoint that serves them.
public final class Monitoring: Sendable {
    /// The health checks: `hub`, `looping-calls` and `ended-looping-calls`, and those that the application registers.
    public let health: HealthRegistry
    package let exposition: Exposition

    private let endpoint: Endpoint?
    private let singleProcess: SingleProcessStatus?
    private let runningConsole = Locked<DiagnosticsConsole?>(nil)
    private let makeConsole = Locked<(@Sendable () throws -> DiagnosticsConsole?)?>(nil)

    init(health: HealthRegistry, exposition: Exposition, endpoint: Endpoint?) {
        self.health = health
        self.exposition = exposition
        self.endpoint = endpoint
        singleProcess = nil
    }

    /// Sets up the metrics and health checks of one process; serves nothing yet.
    ///
    /// - Throws: `ArenaError` when the backend's metrics cannot be read; `HealthError`.
    package init(backend: Backend, workerGroup: String, settings: MusterSettings, logger: Logger) throws {
        let health = HealthRegistry(
            runner: { name, work in
                do {
                    try backend.engine.spawn(name: name, work)
                } catch {
                    // The check then fails at its time-out.
                    logger.warning(
                        "cannot run health check", metadata: ["check": "\(name)", "error": "\(error)"])
                }
            }, clock: backend.engine.clock, logger: logger)
        self.health = health
        let labels = [(name: "worker", value: "0"), (name: "worker_group", value: workerGroup)]
        let reader = try backend.metrics.reader()
        let sampler = ProcessSampler()
        exposition = Exposition(
            sources: [
                ArenaSource(reader: reader, constantLabels: labels),
                // A single process is its own worker: one reading serves both.
                CollectorSource {
                    let process = sampler.sample()
                    return ProcessSource.families(of: process) + Self.workerFamilies(of: process, labels: labels)
                },
                CollectorSource { Self.buildFamilies() },
            ])
        let exposition = exposition
        let status = SingleProcessStatus(
            name: workerGroup, backend: backend, reader: reader, sampler: sampler, liveness: settings.livenessLimit)
        singleProcess = status
        endpoint = settings.endpoint.map { configuration in
            Endpoint(
                configuration: configuration, metrics: exposition, health: health, status: status,
                registry: backend.metrics, logger: logger)
        }
        try registerChecks(backend: backend, limit: settings.livenessLimit)
    }

    /// Sets up the metrics and health checks of a supervisor; serves nothing yet. Its workers' series are added as they
    /// start.
    init(
        supervisor metrics: SupervisorMetrics, health checks: SupervisorHealth, status: SupervisorStatus,
        registry: MetricRegistry, settings: MusterSettings, logger: Logger
    ) throws {
        let health = HealthRegistry(
            runner: { _, work in
                // The supervisor has no backend. Its own checks are quick; this is for checks that the application
                // registers here.
                Task(executorPreference: EventLoop.auxiliary) { await work() }
            }, logger: logger)
        self.health = health
        try checks.register(with: health)
        let reader = try registry.reader()
        let exposition = Exposition(
            sources: [
                ArenaSource(reader: reader, constantLabels: []), ProcessSource(), metrics,
                CollectorSource { Self.buildFamilies() },
            ])
        self.exposition = exposition
        endpoint = settings.endpoint.map { configuration in
            Endpoint(
                configuration: configuration, metrics: exposition, health: health, status: status, registry: registry,
                logger: logger)
        }
        singleProcess = nil
    }

    /// Sets the source of the services' state on the status page.
    func show(_ state: @escaping @Sendable () -> WorkerState) {
        singleProcess?.show(state)
    }

    private func registerChecks(backend: Backend, limit: Duration) throws {
        try health.register(
            .probe("hub", .live) {
                let stalled = backend.engine.stalledTime
                return stalled > limit
                    ? .fail("the hub has been in one job for \(stalled.text); the limit is \(limit.text)")
                    : .pass
            })
        try health.register(
            .probe("looping-calls", .live) {
                let stalled = backend.loops.stalled(limit: limit, at: backend.engine.clock.now)
                guard let worst = stalled.first else { return .pass }
                let others = stalled.count > 1 ? "; \(stalled.count - 1) more" : ""
                return .fail(worst.description + others)
            })
        try health.register(.probe(LoopMonitor.endedCheck, .ready) { backend.loops.endedResult })
    }

    /// Starts to serve.
    ///
    /// - Throws: `EndpointError` or `ListenError`, which name the address, the setting and the remedy.
    package func start() throws {
        try endpoint?.start()
        let console = try makeConsole.withLock { $0 }?()
        runningConsole.withLock { $0 = console }
    }

    /// Stops serving; returns when the port is free.
    package func stop() {
        endpoint?.stop()
        runningConsole.withLock { $0.take() }?.stop()
    }

    /// The diagnostics console; `nil` while there is none.
    public var console: DiagnosticsConsole? { runningConsole.withLock { $0 } }

    /// Sets how the console is started.
    func startConsole(by make: @escaping @Sendable () throws -> DiagnosticsConsole?) {
        makeConsole.withLock { $0 = make }
    }

    /// The address served at, with its real port; `nil` while nothing is served.
    package var address: ListenAddress? { endpoint?.address }

    /// The address as a URL.
    public var url: String? { endpoint?.url }

    // MARK: Figures taken at a scrape

    private static func workerFamilies(
        of process: ProcessStatistics, labels: [(name: String, value: String)]
    ) -> [CollectedFamily] {
        var families = WorkerFamilies()
        families.add(process, labels: labels)
        return families.all
    }

    static func buildFamilies() -> [CollectedFamily] {
        [
            CollectedFamily(
                FamilyDescriptor(name: "muster_build_info", type: .info, help: "The version of Muster."),
                samples: [([("version", MusterVersion.current), ("swift", MusterVersion.swift)], 1)])
        ]
    }
}

/// What was built.
public enum MusterVersion {
    /// Muster's version.
    public static let current = "0.1.0"

    /// The Swift version that it was compiled with.
    package static var swift: String {
        #if swift(>=6.4)
        "6.4"
        #elseif swift(>=6.3)
        "6.3"
        #else
        "6.2"
        #endif
    }

    /// Both, as a status tells them.
    static var status: VersionStatus { VersionStatus(muster: current, swift: swift) }
}
