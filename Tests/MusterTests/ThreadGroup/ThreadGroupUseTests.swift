// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform
import MusterTestKit
import MusterTestSupport
import Testing

@Suite("A job that uses its own group", .timeLimit(.minutes(5)))
struct ThreadGroupUseTests {
    private func isFinished(_ outcome: JobOutcome?) -> Bool {
        if case .finished = outcome { true } else { false }
    }

    @Test("A thread may use its own group in every way", arguments: bothBackends, GroupUse.allCases)
    func fromThread(type: BackendType, use: GroupUse) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "group", capacity: 2, backend: backend)
            // Often, because it may do so before the group has entered it.
            for _ in 0..<50 {
                let job = try await group.addThread(name: "user") { try await use.apply(to: group) }
                try await job.wait()
                #expect(isFinished(job.outcome), "\(String(describing: job.outcome))")
                try await group.stop(graceful: true)
                #expect(group.threads.isEmpty)
                #expect(group.timers.isEmpty)
            }
        }
    }

    @Test("A timer may use its own group in every way", arguments: bothBackends, GroupUse.allCases)
    func fromTimer(type: BackendType, use: GroupUse) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "group", capacity: 2, backend: backend)
            let timer = try group.addTimer(name: "user", interval: .seconds(1)) {
                try await use.apply(to: group)
                throw LoopingCallDone("used")
            }
            #expect(try await timer.wait().value as? String == "used")
            try await group.stop(graceful: true)
            #expect(group.threads.isEmpty)
            #expect(group.timers.isEmpty)
        }
    }

    @Test(
        "While a group is being stopped from outside, its threads and timers may use it",
        arguments: bothBackends, GroupUse.allCases)
    func whileStopping(type: BackendType, use: GroupUse) async throws {
        try await TestBackend.with(type, clock: ManualClock()) { backend in
            for graceful in [true, false] {
                let group = ThreadGroup(name: "group", capacity: 3, backend: backend)
                let began = Recorder<Void>()
                let gate = Completion<Void>()
                let body: @Sendable () async -> Void = {
                    began.append(())
                    // Being cancelled here does not keep it from using the group.
                    try? await gate.wait()
                    try? await use.apply(to: group)
                }
                for index in 0..<2 { try await group.addThread(name: "user-\(index)", body) }
                try group.addTimer(name: "user", interval: .seconds(1), body)
                let sentinel = try group.addTimer(name: "sentinel", interval: .seconds(1)) {}
                try await began.first(3)
                let stopping = Task { try await group.stop(graceful: graceful) }
                // Once a timer that sleeps is over, the stop is under way.
                try await sentinel.wait()
                gate.complete(with: ())
                try await stopping.value
                try await group.stop(graceful: true)
                #expect(group.threads.isEmpty)
                #expect(group.timers.isEmpty)
                #expect(backend.engine.census.jobs == 0)
            }
        }
    }

    @Test("A timer added during a graceful stop does not keep it from ending", arguments: bothBackends)
    func addDuringGracefulStop(type: BackendType) async throws {
        try await TestBackend.with(type, clock: ManualClock()) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let gate = Completion<Void>()
            let sentinel = try group.addTimer(name: "sentinel", interval: .seconds(1)) {}
            let thread = try await group.addThread(name: "adder") {
                try await gate.wait()
                try group.addTimer(name: "late", interval: .seconds(1)) {}
                try group.addDynamicTimer(name: "late") { .seconds(1) }
            }
            let stopping = Task { try await group.stop(graceful: true) }
            try await sentinel.wait()
            gate.complete(with: ())
            try await stopping.value
            #expect(isFinished(thread.outcome), "\(String(describing: thread.outcome))")
            #expect(group.timers.isEmpty)
            #expect(backend.engine.census.jobs == 0)
        }
    }

    @Test("What is added during a stop is cancelled", arguments: bothBackends)
    func addDuringStop(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            try await group.addThread(name: "adder") {
                try? await clock.sleep(for: .seconds(3600))
                try group.tryAddThread(name: "late") { try await clock.sleep(for: .seconds(3600)) }
                try group.addTimer(name: "late", interval: .seconds(1)) {}
            }
            await clock.sleepers(atLeast: 1)
            try await group.stop()
            #expect(group.threads.isEmpty)
            #expect(backend.engine.census.jobs == 0)
        }
    }

    @Test("Two threads may stop their group at once", arguments: bothBackends, [true, false])
    func twoStoppers(type: BackendType, graceful: Bool) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let ready = Recorder<Void>()
            for index in 0..<2 {
                try await group.addThread(name: "stopper-\(index)") {
                    ready.append(())
                    try await ready.first(2)
                    try await group.stop(graceful: graceful)
                }
            }
            try await group.wait()
            #expect(group.threads.isEmpty)
        }
    }

    @Test("A storm of everything at once ends", arguments: bothBackends, 1...8 as ClosedRange<UInt64>)
    func storm(type: BackendType, seed: UInt64) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "storm", capacity: 4, backend: backend)
            await withTaskGroup(of: Void.self) { tasks in
                for index in 0..<24 {
                    var generator = SplitMix64(seed: seed &* 1000 &+ UInt64(index))
                    let uses = (0..<4).compactMap { _ in GroupUse.allCases.randomElement(using: &generator) }
                    tasks.addTask {
                        _ = try? await group.addThread(name: "storm-\(index)") {
                            for use in uses { try? await use.apply(to: group) }
                        }
                    }
                }
            }
            try await group.stop(graceful: true)
            #expect(group.threads.isEmpty)
            #expect(group.timers.isEmpty)
            for gauge in ["threads", "timers", "queue_length"] {
                #expect(backend.metrics.value("muster_threadgroup_\(gauge)", ["group": "storm"]) == 0)
            }
        }
    }
}
