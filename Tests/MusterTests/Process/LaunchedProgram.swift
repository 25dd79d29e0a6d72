// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterPlatform

/// A launcher under test: instead of ending the process it writes down that it would have.
struct LaunchedProgram: Sendable {
    let launcher: ServiceLauncher
    let exits = Recorder<ExitStatus>()
    let ready = Completion<Void>()
    let log = CapturedLog()

    init(
        _ backend: Backend, timeout: Duration = .seconds(60), restartMethod: RestartMethod = .reload,
        endpoint: EndpointConfiguration? = nil, livenessLimit: Duration = .seconds(10)
    ) throws {
        let exits = exits
        launcher = try ServiceLauncher(
            name: "test",
            settings: MusterSettings(
                endpoint: endpoint, gracefulShutdownTimeout: timeout, livenessLimit: livenessLimit,
                restartMethod: restartMethod),
            backend: backend, logger: log.logger, exitNow: { exits.append($0) })
        let ready = ready
        launcher.whenReady { ready.complete(with: ()) }
    }

    /// Begins to run, and returns when all services have started.
    func start() async throws -> Task<ExitStatus, Never> {
        let task = Task { await launcher.run() }
        try await ready.wait()
        return task
    }

    /// The failing checks' reasons.
    func failures(at level: HealthLevel) async -> [String] {
        await launcher.monitoring.health.evaluate(level).entries.compactMap { $0.result.reason }
    }
}
