// SPDX-License-Identifier: Apache-2.0

public import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform

// An example: a backend of one's own. Its jobs run where Swift's tasks run by default: on the threads of the global
// concurrent pool, as many as there are processors, and after an `await` perhaps on another one.

extension BackendType {
    /// Jobs on Swift's global concurrent pool.
    public static let globalPool = BackendType("global-pool")
}

extension Backend {
    /// Makes the backend known, so that it can be selected: before the first use of a backend.
    public static func registerGlobalPool() throws {
        try register(.globalPool) { context in
            Backend(context: context, engine: try GlobalPoolEngine(context))
        }
    }
}

private final class GlobalPoolEngine: ExecutionEngine {
    let name: String
    let clock: any RuntimeClock
    let ledger: JobLedger
    private let blocking: BlockingPool

    init(_ context: BackendContext) throws {
        name = context.type.rawValue
        clock = context.clock
        ledger = try JobLedger(backend: name, metrics: context.metrics)
        blocking = try BlockingPool(backend: name, configuration: context.engine, metrics: context.metrics)
    }

    func placeJob(named name: String) -> EngineExecutor { EngineExecutor(executor: globalConcurrentExecutor) }

    func runBlocking<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
        try await blocking.run(work)
    }

    /// Those of the global pool are Swift's.
    var nativeThreads: Int { blocking.threads }

    /// A job that blocks holds others up only when as many as there are processors do; nothing can be seen of that.
    var stalledTime: Duration { .zero }

    func releaseThreads() { blocking.close() }
}
