// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterExecution
import MusterMetrics

/// Runs a service that does nothing from its start to its end, so that doing it again is quick: code and data are in
/// memory by then, and Swift's runtime has looked up the types.
///
/// A warm spare rehearses before it parks. It selects no backend, because the program may want to know its slot first,
/// and leaves no trace: metrics go into an arena of their own, the log is silent, signals keep their action.
enum Rehearsal {
    private struct NoService: ServiceBase {
        let name: String

        func start() async throws {}
    }

    /// Rehearses on the calling thread.
    ///
    /// - Parameters:
    ///   - name: The name of the service that is to run.
    ///   - type: The backend that it will run on; `nil` when nobody has decided.
    ///   - settings: The settings that it will run with.
    static func run(service name: String, on type: BackendType?, settings: MusterSettings) {
        SignalCenter.rehearse()
        var settings = settings
        // Or a thread would watch over the deadline.
        settings.gracefulShutdownTimeout = .zero
        for standard in [BackendType.cooperative, .threading] where type == nil || type == standard {
            // What does not work now will be reported when it matters.
            try? run(NoService(name: name), on: standard, settings)
        }
    }

    private static func run(_ service: NoService, on type: BackendType, _ settings: MusterSettings) throws {
        let logger = Logger(label: "muster.rehearsal", factory: { _ in SwiftLogNoOpLogHandler() })
        let registry = MetricRegistry(arena: try ArenaWriter.create(name: "muster-rehearsal"), logger: logger)
        let selector = BackendSelector(metrics: registry, logger: logger)
        selector.registerDefaultHook { type }
        let backend = try selector.backend()
        defer { backend.engine.releaseThreads() }
        let runner = try ServiceRunner(
            backend: backend, settings: settings, logger: { logger }, watch: .nobody,
            surroundings: ServiceRunner.Surroundings(exitNow: { _ in }))
        try runner.services.register(service)
        runner.whenReady { [unowned runner] in runner.stop(.success) }
        _ = runner.wait()
    }
}
