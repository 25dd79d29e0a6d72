// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import Logging
import Muster
import MusterExecution

/// A launcher under test, that neither serves nor logs.
struct LaunchedProgram: Sendable {
    let launcher: ServiceLauncher
    let ready = Completion<Void>()

    init(_ backend: Backend, _ services: any ServiceBase...) throws {
        launcher = try ServiceLauncher(
            name: "test", settings: MusterSettings(endpoint: nil), backend: backend, logger: silentLogger)
        for service in services { try launcher.launchService(service) }
        let ready = ready
        launcher.whenReady { ready.complete(with: ()) }
    }

    /// Begins to run, and returns when all services have started.
    func start() async throws -> Task<Muster.ExitStatus, Never> {
        let task = Task { await launcher.run() }
        try await ready.wait()
        return task
    }

    /// The reasons for which it is not ready.
    func obstacles() async -> [String] {
        await launcher.monitoring.health.evaluate(.ready).entries.compactMap { $0.result.reason }
    }
}

let silentLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
#endif
