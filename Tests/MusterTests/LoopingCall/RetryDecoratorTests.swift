// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

@Suite("Retrying", .timeLimit(.minutes(5)))
struct RetryDecoratorTests {
    private let clock = RecordedClock()

    private func decorator(
        _ max: Int? = nil, inc: Duration = .seconds(2), longest: Duration = .seconds(60)
    ) -> RetryDecorator {
        RetryDecorator(maximumRetries: max, delayIncrement: inc, maximumDelay: longest, clock: clock) {
            $0 is TestFailure
        }
    }

    @Test("A result is passed on without a retry")
    func result() async throws {
        let decorator = decorator()
        #expect(try await decorator { 42 } == 42)
        #expect(clock.sleeps.isEmpty)
    }

    @Test("The retries of a name are counted, and so is how the calls end")
    func counted() async throws {
        let metrics = try MetricRegistry.forTesting()
        let decorator = RetryDecorator(
            name: "storage", maximumRetries: 2, clock: clock, metrics: metrics, isRetryable: { $0 is TestFailure })
        #expect(metrics.value("muster_retries_total", ["retry": "storage"]) == 0)
        var calls = 0
        let waiting: Double? = try await decorator {
            calls += 1
            if calls < 3 { throw TestFailure() }
            return metrics.value("muster_retry_waiting", ["retry": "storage"]).number
        }
        #expect(waiting == 0)
        await #expect(throws: TestFailure.self) { try await decorator { throw TestFailure() } }
        // Those that needed no retry are not counted.
        try await decorator {}
        #expect(metrics.value("muster_retries_total", ["retry": "storage"]) == 4)
        #expect(metrics.value("muster_retried_calls_total", ["retry": "storage", "outcome": "success"]) == 1)
        #expect(metrics.value("muster_retried_calls_total", ["retry": "storage", "outcome": "exhausted"]) == 1)
        let manual = ManualClock()
        let patient = RetryDecorator(
            name: "storage", maximumRetries: 1, clock: manual, metrics: metrics, isRetryable: { _ in true })
        let call = Task { try await patient { throw TestFailure() } }
        await manual.sleepers(atLeast: 1)
        #expect(metrics.value("muster_retry_waiting", ["retry": "storage"]) == 1)
        call.cancel()
        _ = await call.result
        #expect(metrics.value("muster_retry_waiting", ["retry": "storage"]) == 0)
    }

    private final class NotSendable {
        var calls = 0
    }

    private actor Caller {
        private var calls = 0
        private let state = NotSendable()

        func plain(_ retry: RetryDecorator) async throws -> (calls: Int, elsewhere: Int) {
            let same = try await retry {
                calls += 1
                state.calls += 1
                if calls < 3 { throw TestFailure() }
                await Task.yield()
                assertIsolated()
                return state
            }
            return (calls, same.calls)
        }

        func immediate(_ clock: RecordedClock) async throws -> Int {
            // Without an await in it, and with one.
            let first = try await RetryDecorator(maximumRetries: 3, clock: clock, isRetryable: { $0 is TestFailure }) {
                calls += 1
                if calls < 2 { throw TestFailure() }
                return calls
            }
            return try await RetryDecorator(maximumRetries: 3, clock: clock, isRetryable: { $0 is TestFailure }) {
                await Task.yield()
                calls += first
                return calls
            }
        }
    }

    @MainActor private final class MainCaller {
        private var calls = 0

        func call(_ retry: RetryDecorator) async throws -> Int {
            try await retry {
                calls += 1
                if calls < 3 { throw TestFailure() }
                await Task.yield()
                return calls
            }
        }

        func backend(_ type: BackendType) async throws -> Int {
            try await TestBackend.with(type) { backend in
                MainActor.assertIsolated()
                try await backend.engine.spawn(name: "job") {}.wait()
                calls += 1
                return calls
            }
        }
    }

    private actor BackendCaller {
        private let state = NotSendable()

        func use(_ type: BackendType) async throws -> Int {
            let same = try await TestBackend.with(type) { backend in
                state.calls += try await backend.engine.spawn(name: "job") { 41 }.result()
                assertIsolated()
                return state
            }
            return same.calls + 1
        }
    }

    @Test("An actor retries with its own state, and so does the main actor")
    func isolated() async throws {
        let decorator = decorator()
        let result = try await Caller().plain(decorator)
        #expect(result.calls == 3 && result.elsewhere == 3)
        #expect(try await MainCaller().call(decorator) == 3)
        #expect(clock.sleeps.count == 4)
        #expect(try await Caller().immediate(clock) == 4)
    }

    @Test("A backend for tests is used where the caller is", arguments: bothBackends)
    func isolatedBackend(type: BackendType) async throws {
        #expect(try await MainCaller().backend(type) == 1)
        #expect(try await BackendCaller().use(type) == 42)
    }

    @Test("A retried job stays on its thread", arguments: bothBackends)
    func thread(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let retry = RetryDecorator(delayIncrement: .milliseconds(1)) { $0 is TestFailure }
            let job = try backend.engine.spawn(name: "retries") {
                let own = NativeThread.currentIdentifier
                let calls = Recorder<Bool>()
                try await retry {
                    await Task.yield()
                    if calls.append(NativeThread.currentIdentifier == own) < 3 { throw TestFailure() }
                }
                return calls.all + [NativeThread.currentIdentifier == own]
            }
            #expect(try await job.result() == [true, true, true, true])
        }
    }

    @Test("Two failures, then a value")
    func twoFailures() async throws {
        let calls = Recorder<Void>()
        let decorator = decorator(inc: .milliseconds(10))
        let value = try await decorator {
            if calls.append(()) < 3 { throw TestFailure() }
            return "value"
        }
        #expect(value == "value")
        #expect(clock.sleeps == [.milliseconds(10), .milliseconds(20)])
    }

    @Test("Three retries sleep 2, 4 and 6 seconds")
    func threeRetries() async throws {
        let calls = Recorder<Void>()
        let decorator = decorator(3)
        await #expect(throws: TestFailure()) {
            try await decorator {
                calls.append(())
                throw TestFailure()
            }
        }
        #expect(clock.sleeps == [.seconds(2), .seconds(4), .seconds(6)])
        #expect(calls.count == 4)
    }

    @Test("The delay grows no further than the longest")
    func longest() async throws {
        let decorator = decorator(4, longest: .seconds(5))
        await #expect(throws: TestFailure()) { try await decorator { throw TestFailure() } }
        #expect(clock.sleeps == [.seconds(2), .seconds(4), .seconds(5), .seconds(5)])
    }

    @Test("Another error is thrown on at once")
    func unexpected() async throws {
        let decorator = decorator(3)
        await #expect(throws: CancellationError.self) { try await decorator { throw CancellationError() } }
        #expect(clock.sleeps.isEmpty)
    }

    @Test("Upstream's -1 means for ever")
    func forEver() async throws {
        let calls = Recorder<Void>()
        let decorator = decorator(-1)
        try await decorator { if calls.append(()) < 100 { throw TestFailure() } }
        #expect(clock.sleeps.count == 99)
    }

    @Test("No retries mean one attempt")
    func none() async throws {
        let decorator = decorator(0)
        await #expect(throws: TestFailure()) { try await decorator { throw TestFailure() } }
        #expect(clock.sleeps.isEmpty)
    }

    @Test("Each call has its own count and delay")
    func reuse() async throws {
        let decorator = decorator(2)
        for _ in 0..<2 {
            await #expect(throws: TestFailure()) { try await decorator { throw TestFailure() } }
        }
        #expect(clock.sleeps == [.seconds(2), .seconds(4), .seconds(2), .seconds(4)])
    }

    @Test("A delay of zero does not spin")
    func zero() async throws {
        let decorator = decorator(2, inc: .zero)
        await #expect(throws: TestFailure()) { try await decorator { throw TestFailure() } }
        #expect(clock.sleeps == [.milliseconds(1), .milliseconds(1)])
    }

    @Test("A cancelled task stops retrying")
    func cancelled() async throws {
        let manual = ManualClock()
        let decorator = RetryDecorator(clock: manual) { _ in true }
        let task = Task { try await decorator { throw TestFailure() } }
        await manual.sleepers(atLeast: 1)
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }
}
