// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterPlatform
import MusterTestKit
import Testing

@Suite("Stopping thread groups", .timeLimit(.minutes(5)))
struct ThreadGroupStopTests {
    private func isFinished(_ outcome: JobOutcome?) -> Bool {
        if case .finished = outcome { true } else { false }
    }

    private func isCancelled(_ outcome: JobOutcome?) -> Bool {
        if case .cancelled = outcome { true } else { false }
    }

    @Test("Stopping ends what sleeps at once, and the group can be used again", arguments: bothBackends)
    func stop(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let job = try await group.addThread(name: "sleeper") { try await clock.sleep(for: .seconds(3600)) }
            try group.addTimer(name: "timer", interval: .seconds(3600)) {}
            await clock.sleepers(atLeast: 2)
            try await group.stop()
            #expect(group.threads.isEmpty)
            #expect(group.timers.isEmpty)
            #expect(isCancelled(job.outcome), "\(String(describing: job.outcome))")
            let again = try await group.addThread(name: "again") {}
            try await again.wait()
            #expect(isFinished(again.outcome))
        }
    }

    @Test("Stopping gracefully waits for threads and for runs under way", arguments: bothBackends)
    func graceful(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let gate = Completion<Void>()
            let began = Recorder<Void>()
            let finished = Recorder<String>()
            try await group.addThread(name: "worker") {
                began.append(())
                try await gate.wait()
                finished.append("thread")
            }
            try group.addTimer(name: "busy", interval: .seconds(1)) {
                began.append(())
                try await gate.wait()
                finished.append("timer")
            }
            let asleep = try group.addTimer(name: "asleep", interval: .seconds(1), initialDelay: .seconds(1)) {
                finished.append("never")
            }
            try await began.first(2)
            let stopping = Task { try await group.stop(graceful: true) }
            try await asleep.wait()
            #expect(finished.count == 0)
            #expect(group.threads.count == 1)
            gate.complete(with: ())
            try await stopping.value
            #expect(Set(finished.all) == ["thread", "timer"])
            #expect(group.threads.isEmpty)
            #expect(group.timers.isEmpty)
        }
    }

    @Test("At its deadline a graceful stop cancels the rest and says so", arguments: bothBackends)
    func gracefulDeadline(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let group = ThreadGroup(name: "slow", backend: backend)
            let job = try await group.addThread(name: "sleeper") { try await clock.sleep(for: .seconds(3600)) }
            await clock.sleepers(atLeast: 1)
            let deadline = clock.now.advanced(by: .seconds(5))
            let stopping = Task { try await group.stop(graceful: true, until: deadline) }
            await clock.sleepers(atLeast: 2)
            #expect(group.threads.count == 1)
            await clock.advance(to: deadline)
            let error = await #expect(throws: TimeLimitExceeded.self) { try await stopping.value }
            #expect(error?.operation == "thread group 'slow'")
            try await job.wait()
            #expect(isCancelled(job.outcome))
            try await group.wait()
        }
    }

    @Test("A job that ignores being cancelled is waited for until the deadline", arguments: bothBackends)
    func ignoresCancellation(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let group = ThreadGroup(name: "stubborn", backend: backend)
            let gate = Completion<Void>()
            let began = Recorder<Void>()
            try await group.addThread(name: "stubborn") {
                began.append(())
                await Task { try? await gate.wait() }.value
            }
            try await began.first(1)
            let deadline = clock.now.advanced(by: .seconds(5))
            let stopping = Task { try await group.stop(until: deadline) }
            await clock.sleepers(atLeast: 1)
            await clock.advance(to: deadline)
            await #expect(throws: TimeLimitExceeded.self) { try await stopping.value }
            #expect(group.threads.count == 1)
            gate.complete(with: ())
            try await group.wait()
        }
    }

    @Test("A wait has a deadline too, and can be cancelled", arguments: bothBackends)
    func waitDeadline(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let gate = Completion<Void>()
            try await group.addThread(name: "one") { try await gate.wait() }
            let deadline = clock.now.advanced(by: .seconds(1))
            let waiting = Task { try await group.wait(until: deadline) }
            await clock.sleepers(atLeast: 1)
            await clock.advance(to: deadline)
            await #expect(throws: TimeLimitExceeded.self) { try await waiting.value }
            let cancelled = Task { try await group.wait() }
            cancelled.cancel()
            await #expect(throws: CancellationError.self) { try await cancelled.value }
            gate.complete(with: ())
            try await group.wait()
        }
    }

    @Test("A thread that stops its group stays, the others go", arguments: bothBackends, [true, false])
    func stopFromInside(type: BackendType, graceful: Bool) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let left = Recorder<[String]>()
            for index in 0..<3 {
                try await group.addThread(name: "other-\(index)") {
                    if !graceful { try await clock.sleep(for: .seconds(3600)) }
                }
            }
            try group.addTimer(name: "timer", interval: .seconds(1)) {}
            let stopper = try await group.addThread(name: "stopper") {
                try await group.stop(graceful: graceful)
                left.append(group.threads.map(\.name))
            }
            try await stopper.wait()
            #expect(isFinished(stopper.outcome), "\(String(describing: stopper.outcome))")
            #expect(left.all == [["stopper"]])
            try await group.wait()
        }
    }

    @Test("Cancelling lets what has started go on, and stops it at the deadline", arguments: bothBackends)
    func cancel(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let job = try await group.addThread(name: "started") { try await clock.sleep(for: .seconds(3600)) }
            await clock.sleepers(atLeast: 1)
            try await group.cancel()
            #expect(job.state == .running)
            let deadline = clock.now.advanced(by: .seconds(2))
            let cancelling = Task { try await group.cancel(until: deadline) }
            await clock.sleepers(atLeast: 2)
            await clock.advance(to: deadline)
            try await cancelling.value
            #expect(job.state == .finished)
            #expect(group.threads.isEmpty)
        }
    }

    @Test("A thread that has not started never runs once it is cancelled")
    func cancelQueued() async throws {
        // On the hub, a job that was just added cannot have run before the one that adds it awaits.
        try await TestBackend.with(.cooperative) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let queued = Recorder<Job>()
            try await backend.engine.spawn(name: "adder") {
                queued.append(try group.tryAddThread(name: "queued") { Issue.record("it must not run") })
                try await group.cancel()
            }.wait()
            try await queued.all[0].wait()
            #expect(isCancelled(queued.all[0].outcome))
            #expect(group.threads.isEmpty)
        }
    }
}
