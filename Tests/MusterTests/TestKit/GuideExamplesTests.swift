// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

/// The examples of the migration guide, so that they keep compiling and doing what it says.
@Suite("The migration guide's examples", .timeLimit(.minutes(5)))
struct GuideExamplesTests {
    private struct Mailer: ServiceBase {
        let threadGroup: ThreadGroup
        let deliveries: Recorder<Void>

        func start() async throws {
            try threadGroup.addTimer(name: "deliver", interval: .seconds(1)) { try await deliver() }
        }

        func deliver() async throws { deliveries.append(()) }
    }

    @Test("A service with a timer", arguments: bothBackends)
    func service(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let deliveries = Recorder<Void>()
            let mailer = Mailer(
                threadGroup: ThreadGroup(name: "mailer", backend: backend), deliveries: deliveries)
            try await mailer.start()
            await clock.advance(by: .seconds(1))
            #expect(deliveries.count == 2)
            try await mailer.stop(graceful: true, until: nil)
            try await mailer.wait()
        }
    }

    @Test("A thread with a link, and a stop with a deadline", arguments: bothBackends)
    func thread(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "group", backend: backend)
            let outcomes = Recorder<String>()
            let job = try await group.addThread(name: "import") {}
            job.link { outcome in outcomes.append("\(outcome)") }
            try await group.stop(graceful: true, until: .now.advanced(by: .seconds(30)))
            #expect(try await outcomes.first(1) == ["finished"])
        }
    }

    @Test("A loop that is done, and a retry", arguments: bothBackends)
    func loop(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let queue = Recorder<Void>()
            let poll = FixedIntervalLoopingCall(name: "poll", overrun: .skip, backend: backend) {
                guard queue.append(()) < 3 else { throw LoopingCallDone("drained") }
            }
            try poll.start(interval: .milliseconds(100))
            #expect(try await poll.wait().value as? String == "drained")
        }
        let retry = RetryDecorator(maximumRetries: 3, delayIncrement: .seconds(2), clock: RecordedClock()) {
            $0 is TestFailure
        }
        #expect(try await retry { 42 } == 42)
    }

    @Test("A test with a clock in its hands", arguments: bothBackends)
    func clock(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = FixedIntervalLoopingCall(name: "deliver") {}
            try loop.start(interval: .seconds(1), initialDelay: .seconds(1))
            await clock.advance(by: .seconds(10))
            #expect(backend.metrics.value("muster_loop_runs_total", ["loop": "deliver"]) == 10)
        }
    }
}

/// The examples of the page on testing.
@Suite("The testing page's examples", .timeLimit(.minutes(5)))
struct TestingExamplesTests {
    private struct ConnectionError: Error {}

    private struct Mailer: ServiceBase {
        let threadGroup = ThreadGroup(name: "mailer")

        func start() async throws {
            try threadGroup.addTimer(name: "deliver", interval: .seconds(1)) {}
        }
    }

    @Test("A clock that never waits")
    func recorded() async throws {
        let clock = RecordedClock()
        let retry = RetryDecorator(maximumRetries: 3, delayIncrement: .seconds(2), clock: clock) {
            $0 is ConnectionError
        }
        await #expect(throws: ConnectionError.self) { try await retry { throw ConnectionError() } }
        #expect(clock.sleeps == [.seconds(2), .seconds(4), .seconds(6)])
    }

    @Test("A backend for a test, and none")
    func backends() async throws {
        try await TestBackend.with(.threading) { backend in
            let group = ThreadGroup(name: "import")
            let job = try await group.addThread(name: "rows") { 42 }
            #expect(try await job.result() == 42)
            #expect(Backend.selection?.type == .threading)
        }
        try await TestBackend.withNoneSelected {
            Backend.registerDefaultHook { .threading }
            let backend = try Backend.current
            #expect(backend.type == .threading)
        }
    }

    @Test("A service under a supervisor", arguments: bothBackends)
    func supervisor(type: BackendType) async throws {
        var settings = MusterSettings(gracefulShutdownTimeout: .seconds(30))
        settings.startupTimeout = .seconds(20)
        let clock = ManualClock()
        try await TestSupervisor.run(type, settings: settings, clock: clock, service: { _ in Mailer() }) { supervisor in
            #expect(supervisor.takeEvents() == [.started(worker: 1), .ready(worker: 1)])
            await clock.advance(by: .seconds(3))
            #expect(supervisor.metrics?.value("muster_loop_runs_total", ["loop": "deliver"]) == 4)
            await supervisor.reload()
            #expect(supervisor.takeEvents().contains(.exited(worker: 1, reason: "reload")))
            await supervisor.stop()
            #expect(supervisor.takeEvents() == [.exited(worker: 2, reason: "requested"), .finished(.success)])
        }
    }
}
