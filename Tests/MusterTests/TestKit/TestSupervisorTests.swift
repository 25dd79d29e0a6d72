// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterPlatform
import MusterTestKit
import Testing

@Suite("A supervisor in the test's process", .timeLimit(.minutes(5)))
struct TestSupervisorTests {
    private let clock = ManualClock()
    private let calls = Recorder<String>()

    /// The reasons and delays are the real supervisor's.
    private let settings = {
        var settings = MusterSettings(gracefulShutdownTimeout: .seconds(30), livenessLimit: .seconds(10))
        settings.startupTimeout = .seconds(20)
        return settings
    }()

    @Test(
        "A service starts, takes up settings, is replaced and stops, in the order of the real one",
        arguments: bothBackends)
    func life(type: BackendType) async throws {
        let (clock, calls) = (clock, calls)
        try await TestSupervisor.run(
            type, settings: settings, clock: clock,
            service: { _ in
                ProbeService(
                    "a", calls, onStart: { try await Backend.current.engine.sleep(for: .seconds(1)) },
                    onStop: { try await Backend.current.engine.sleep(for: .seconds(2)) })
            }
        ) { supervisor in
            #expect(supervisor.takeEvents() == [.started(worker: 1)])
            await clock.advance(by: .seconds(1))
            #expect(supervisor.takeEvents() == [.ready(worker: 1)])
            await supervisor.mutate()
            #expect(supervisor.takeEvents() == [.reloading, .reloaded("completed")])
            await supervisor.reload()
            #expect(supervisor.takeEvents() == [.reloading, .started(worker: 2)])
            await clock.advance(by: .seconds(1))
            #expect(supervisor.takeEvents().first == .ready(worker: 2))
            await clock.advance(by: .seconds(2))
            let replaced = supervisor.takeEvents()
            #expect(
                replaced.contains(.exited(worker: 1, reason: "reload")) && replaced.contains(.reloaded("completed")))
            await supervisor.stop()
            #expect(supervisor.takeEvents() == [])
            await clock.advance(by: .seconds(2))
            #expect(supervisor.takeEvents() == [.exited(worker: 2, reason: "requested"), .finished(.success)])
        }
        #expect(
            calls.all == ["a.start", "a.reset", "a.start", "a.stopGracefully", "a.stopGracefully"])
    }

    @Test(
        "A first start that throws ends the program with status 1",
        arguments: bothBackends)
    func failedStart(type: BackendType) async throws {
        let calls = calls
        try await TestSupervisor.run(
            type, settings: settings, clock: clock,
            service: { _ in ProbeService("a", calls, onStart: { throw TestFailure() }) }
        ) { supervisor in
            #expect(
                supervisor.takeEvents() == [
                    .started(worker: 1), .startFailed(worker: 1), .exited(worker: 1, reason: "requested"),
                    .finished(.failure),
                ])
        }
        #expect(calls.all == ["a.start", "a.stop"])
    }

    @Test("A start that takes too long is aborted at the startup timeout", arguments: bothBackends)
    func hangingStart(type: BackendType) async throws {
        let (clock, calls) = (clock, calls)
        let starts = Recorder<Void>()
        try await TestSupervisor.run(
            type, settings: settings, clock: clock,
            service: { _ in
                ProbeService(
                    "a", calls,
                    onStart: {
                        if starts.append(()) == 1 { try await Completion<Void>().wait() }
                    })
            }
        ) { supervisor in
            await clock.advance(by: .milliseconds(19_999))
            #expect(supervisor.takeEvents() == [.started(worker: 1)])
            await clock.advance(by: .milliseconds(1))
            let events = supervisor.takeEvents()
            #expect(
                events.prefix(2) == [
                    .startupTimedOut(worker: 1), .exited(worker: 1, reason: "startup_timeout"),
                ])
            await clock.advance(by: .seconds(1))
            #expect(supervisor.takeEvents().contains(.ready(worker: 2)) || events.contains(.ready(worker: 2)))
        }
        #expect(calls.all.prefix(2) == ["a.start", "a.start"])
    }

    @Test(
        "A stop that takes too long: its jobs are cancelled shortly before the deadline, and it is killed at it",
        arguments: bothBackends)
    func hangingStop(type: BackendType) async throws {
        let (clock, calls) = (clock, calls)
        let gate = Completion<Void>()
        try await TestSupervisor.run(
            type, settings: settings, clock: clock,
            service: { _ in
                ThreadGroupService(name: "long") { group in
                    try await group.addThread(name: "cancellable") {
                        defer { calls.append("cancelled") }
                        try await Backend.current.engine.sleep(for: .seconds(3600))
                    }
                    try await group.addThread(name: "stubborn") {
                        while gate.value == nil { try? await waitLong(gate) }
                    }
                }
            }
        ) { supervisor in
            #expect(supervisor.takeEvents() == [.started(worker: 1), .ready(worker: 1)])
            await supervisor.stop()
            await clock.advance(by: .milliseconds(27_999))
            #expect(calls.all.isEmpty)
            await clock.advance(by: .milliseconds(1))
            #expect(calls.all == ["cancelled"])
            #expect(supervisor.takeEvents().isEmpty)
            await clock.advance(by: .seconds(2))
            #expect(
                supervisor.takeEvents() == [
                    .stopTimedOut(worker: 1), .exited(worker: 1, reason: "requested"), .finished(.success),
                ])
            gate.complete(with: ())
        }
    }

    /// Waits although its task is cancelled.
    private func waitLong(_ gate: Completion<Void>) async throws {
        await Task { _ = try? await gate.wait() }.value
    }

    @Test(
        "A looping call beyond its stall limit: the worker hangs, is aborted, and another one follows",
        arguments: bothBackends)
    func hang(type: BackendType) async throws {
        let clock = clock
        let runs = Recorder<Void>()
        try await TestSupervisor.run(
            type, settings: settings, clock: clock,
            service: { _ in
                ThreadGroupService(name: "poller") { group in
                    try group.addTimer(name: "poll", interval: .seconds(5), stallLimit: .seconds(10)) {
                        if runs.append(()) == 3 { try await Completion<Void>().wait() }
                    }
                }
            }
        ) { supervisor in
            await clock.advance(by: .seconds(20))
            #expect(runs.count == 3)
            #expect(supervisor.takeEvents() == [.started(worker: 1), .ready(worker: 1)])
            await clock.advance(by: .seconds(10))
            #expect(
                supervisor.takeEvents().prefix(3) == [
                    .hung(worker: 1), .exited(worker: 1, reason: "heartbeat"), .restarting(after: .zero),
                ])
            #expect(runs.count > 3)
            #expect(
                supervisor.metrics?.value("muster_loop_runs_total", ["loop": "poll"])
                    == MetricValue(Double(runs.count - 3)))
        }
    }

    @Test(
        "A task that runs once over all workers goes on in the next one, on the test's clock, and begins anew in the next test",
        arguments: bothBackends, [1, 2])
    func oneWorker(type: BackendType, test: Int) async throws {
        let (clock, runs) = (clock, Recorder<String>())
        try await TestSupervisor.run(
            type, settings: settings, clock: clock,
            service: { _ in
                ThreadGroupService(name: "poller") { group in
                    try group.addPeriodicTasks([
                        PeriodicTask("poll", .every(.seconds(60)), on: .oneWorker) { runs.append("poll") },
                        PeriodicTask("once", .every(.seconds(60)), on: .oneWorker) {
                            runs.append("once")
                            throw LoopingCallDone()
                        },
                        PeriodicTask("long", .every(.seconds(100)), on: .oneWorker) {
                            runs.append("long")
                            if runs.all.count(where: { $0 == "long" }) == 1 { try await Completion<Void>().wait() }
                        },
                    ])
                }
            }
        ) { supervisor in
            await clock.advance(by: .seconds(60))
            #expect(runs.all.sorted() == ["once", "poll"])
            await clock.advance(by: .seconds(45))
            #expect(runs.all.count == 3)
            await supervisor.kill()
            await clock.advance(by: .seconds(5))
            // Cut off, it is done again.
            #expect(runs.all.sorted() == ["long", "long", "once", "poll"])
            await clock.advance(by: .seconds(10))
            #expect(runs.all.last == "poll")
            await supervisor.reload()
            await clock.advance(by: .seconds(59))
            #expect(runs.all.count == 5)
            await clock.advance(by: .seconds(1))
            #expect(runs.all.count == 6)
            await supervisor.stop()
        }
    }

    @Test("A worker that is said to hang is deaf to a stop; one that is killed is replaced", arguments: bothBackends)
    func claimed(type: BackendType) async throws {
        let (clock, calls) = (clock, calls)
        try await TestSupervisor.run(
            type, settings: settings, clock: clock, service: { _ in ProbeService("a", calls) }
        ) { supervisor in
            _ = supervisor.takeEvents()
            await supervisor.kill()
            #expect(supervisor.takeEvents().first == .exited(worker: 1, reason: "signal"))
            await clock.advance(by: .seconds(1))
            await supervisor.hang()
            await clock.advance(by: .seconds(9))
            _ = supervisor.takeEvents()
            await clock.advance(by: .seconds(1))
            #expect(supervisor.takeEvents().prefix(2) == [.hung(worker: 2), .exited(worker: 2, reason: "heartbeat")])
            await clock.advance(by: .seconds(60))
            _ = supervisor.takeEvents()
            await supervisor.hang()
            await supervisor.stop()
            await clock.advance(by: .seconds(30))
            let events = supervisor.takeEvents()
            #expect(events.contains { if case .stopTimedOut = $0 { true } else { false } })
            #expect(events.last == .finished(.success))
        }
        #expect(Set(calls.all) == ["a.start"])
    }
}
