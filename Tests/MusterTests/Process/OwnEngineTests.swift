// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform
import Testing

/// An engine as an application may bring one, complete in one file: jobs run on Swift's global pool.
private final class PoolEngine: ExecutionEngine {
    let name = "pool"
    let clock: any RuntimeClock = SystemClock()
    let ledger: JobLedger

    init(metrics: MetricRegistry) throws {
        ledger = try JobLedger(backend: "pool", metrics: metrics)
    }

    func placeJob(named name: String) -> EngineExecutor {
        EngineExecutor(executor: globalConcurrentExecutor)
    }

    func runBlocking<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
        try work()
    }

    var nativeThreads: Int { 0 }
    var stalledTime: Duration { .zero }

    func releaseThreads() {}
}

extension ProcessWide {
    @Suite("An engine of the application's own", .timeLimit(.minutes(5)))
    struct OwnEngineTests {
        @Test("runs services, threads and looping calls under a launcher, to a graceful end")
        func launched() async throws {
            let registry = MetricRegistry(arena: try .create(name: "muster-test"))
            let backend = Backend(
                context: BackendContext(type: BackendType("pool"), metrics: registry),
                engine: try PoolEngine(metrics: registry))
            let program = try LaunchedProgram(backend)
            let runs = Recorder<String>()
            try program.launcher.launchService(
                ThreadGroupService(name: "own", backend: backend) { group in
                    try await group.addThread(name: "thread") { runs.append("thread") }
                    try group.addTimer(name: "timer", interval: .milliseconds(1)) {
                        runs.append("timer")
                        throw LoopingCallDone()
                    }
                })
            let end = try await program.start()
            let group = try #require(program.launcher.services.all.first?.threadGroup)
            for timer in group.timers { _ = try await timer.wait() }
            for thread in group.threads { _ = try await thread.wait() }
            program.launcher.stop()
            #expect(await end.value == .success)
            #expect(Set(runs.all) == ["thread", "timer"])
            #expect(program.exits.all.isEmpty)
        }
    }
}
