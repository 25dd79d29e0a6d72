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
            await clock.advanceToNextDeadline()
            try await deliveries.first(2)
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
            let loop = FixedIntervalLoopingCall(name: "deliver", backend: backend) {}
            try loop.start(interval: .seconds(1))
            await clock.advanceToNextDeadline()
            await clock.sleepers(atLeast: 1)
            #expect(backend.metrics.value("muster_loop_runs_total", ["loop": "deliver"]) == 2)
        }
    }
}
