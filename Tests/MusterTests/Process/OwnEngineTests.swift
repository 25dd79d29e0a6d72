// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterGlobalPoolBackend
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

extension ProcessWide {
    /// The example, as its page shows it.
    @Suite("A backend of the application's own", .timeLimit(.minutes(5)))
    struct OwnEngineTests {
        /// Runs a test where nothing is selected, and the backend is registered.
        private func registered(_ test: nonisolated(nonsending) () async throws -> Void) async throws {
            try Self.registration.get()
            try await TestBackend.withNoneSelected(test)
        }

        @Test("The engine conforms, and pins no job to a thread", arguments: EngineConformance.checks(pinsJobs: false))
        func conforms(check: EngineConformance) async throws {
            try Self.registration.get()
            try await check.run(within: .seconds(170)) { metrics in
                try TestBackend.make(.globalPool, metrics: metrics).engine
            }
        }

        /// In the process: a check runs in a task of its own.
        private static let registration = Result { try Backend.registerGlobalPool() }

        @Test("It is chosen by the hook, and shows in the metrics")
        func chosen() async throws {
            try await registered {
                Backend.registerDefaultHook { .globalPool }
                let type = try Backend.current.type
                #expect(type == .globalPool)
                #expect(Backend.selection?.source == .hook)
            }
        }

        @Test("It runs services, threads, pools and looping calls under a launcher, to a graceful end")
        func launched() async throws {
            try await registered {
                let registry = try MetricRegistry.forTesting()
                let backend = try TestBackend.make(.globalPool, metrics: registry)
                let program = try LaunchedProgram(backend)
                let runs = Recorder<String>()
                try program.launcher.launchService(
                    ThreadGroupService(name: "own", backend: backend) { group in
                        try await group.addThread(name: "thread") { runs.append("thread") }
                        try group.addTimer(name: "timer", interval: .milliseconds(1)) {
                            runs.append("timer")
                            throw LoopingCallDone()
                        }
                        let pool = WorkPool(name: "pool", kind: .threads, workers: 1...2, backend: backend)
                        try await pool.submit { runs.append("task") }.result()
                    })
                let end = try await program.start()
                let group = try #require(program.launcher.services.all.first?.threadGroup)
                for timer in group.timers { _ = try await timer.wait() }
                for thread in group.threads { _ = try await thread.wait() }
                program.launcher.stop()
                #expect(await end.value == .success)
                #expect(Set(runs.all) == ["thread", "timer", "task"])
                #expect(program.exits.all.isEmpty)
                #expect(registry.value("muster_jobs_total", ["backend": "global-pool"]).number != nil)
                #expect(
                    registry.value("muster_pool_tasks_total", ["backend": "global-pool", "outcome": "finished"]) == 1)
            }
        }
    }
}
