// SPDX-License-Identifier: Apache-2.0

import Logging
import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform

/// Backends of their own, with their metrics in shared memory as in a service.
enum Backends {
    /// What is said of overruns and the like would go between the results.
    static let silent = Logger(label: "muster-bench", factory: { _ in SwiftLogNoOpLogHandler() })

    static func registry(capacity: Int = ArenaWriter.defaultCapacity) throws -> MetricRegistry {
        MetricRegistry(arena: try .create(name: "muster-bench", capacity: capacity), logger: silent)
    }

    static func make(_ type: BackendType, clock: any RuntimeClock = SystemClock()) throws -> Backend {
        let registry = try registry()
        let engine: any ExecutionEngine =
            type == .threading
            ? try ThreadingEngine(metrics: registry, clock: clock)
            : try CooperativeEngine(metrics: registry, clock: clock)
        return Backend(context: BackendContext(type: type, metrics: registry, logger: silent), engine: engine)
    }

    static func shutDown(_ backend: Backend) throws {
        try Blocking.run { try await backend.engine.shutDown() }
    }
}
