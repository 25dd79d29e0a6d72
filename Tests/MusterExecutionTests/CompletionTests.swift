// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterPlatform
import MusterTestSupport
import Testing

@Suite(.timeLimit(.minutes(3))) struct CompletionTests {
    @Test func `the first value stays`() async throws {
        let completion = Completion<Int>()
        #expect(completion.value == nil)
        #expect(completion.complete(with: 1))
        #expect(!completion.complete(with: 2))
        #expect(completion.value == 1)
        #expect(try await completion.wait() == 1)
    }

    @Test func `everybody who waits gets the value`() async throws {
        let completion = Completion<Int>()
        let isWaiting = Latch(100)
        let sum = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<100 {
                group.addTask {
                    isWaiting.countDown()
                    return try await completion.wait()
                }
            }
            await isWaiting.wait()
            completion.complete(with: 3)
            return try await group.reduce(0, +)
        }
        #expect(sum == 300)
    }

    @Test func `callbacks run once, before and after the event`() {
        let completion = Completion<Int>()
        let sum = Counter()
        completion.whenComplete { sum.add($0) }
        completion.whenComplete { sum.add($0) }
        #expect(sum.value == 0)
        completion.complete(with: 5)
        #expect(sum.value == 10)
        completion.whenComplete { sum.add($0) }
        completion.complete(with: 100)
        #expect(sum.value == 15)
    }

    @Test(arguments: [false, true])
    func `who waits goes on after the callbacks`(hasDeadline: Bool) async throws {
        let completion = Completion<Int>()
        let isInCallback = Latch()
        let gate = Gate()
        let isDone = Counter()
        completion.whenComplete { _ in
            isInCallback.countDown()
            gate.pass()
            isDone.add()
        }
        let setter = Task.detached { try await onThread { completion.complete(with: 1) } }
        await isInCallback.wait()
        #expect(completion.value == 1)
        let isLate = Latch()
        let late = Task {
            // Begins while the callback runs.
            isLate.countDown()
            _ = try await completion.wait(until: hasDeadline ? .now : nil, operation: "it")
            return isDone.value
        }
        let cancelled = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await completion.wait()
        }
        await #expect(throws: CancellationError.self) { try await cancelled.value }
        await isLate.wait()
        gate.open()
        #expect(try await late.value == 1)
        #expect(try await setter.value)
    }

    @Test func `a wait ends with its task's cancellation, and leaves the others alone`() async throws {
        let completion = Completion<Int>()
        let other = Task { try await completion.wait() }
        let isWaiting = Latch()
        let cancelled = Task {
            isWaiting.countDown()
            return try await completion.wait()
        }
        let cancelledBefore = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await completion.wait()
        }
        await isWaiting.wait()
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
        await #expect(throws: CancellationError.self) { try await cancelledBefore.value }
        completion.complete(with: 1)
        #expect(try await other.value == 1)
    }

    @Test func `what has happened counts, also for a cancelled task`() async throws {
        let completion = Completion<Int>()
        completion.complete(with: 1)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await completion.wait(until: .now, operation: "it")
        }
        #expect(try await task.value == 1)
    }

    @Test func `a wait ends at its deadline`() async throws {
        let completion = Completion<Int>()
        let error = await #expect(throws: TimeLimitExceeded.self) {
            try await completion.wait(until: .now.advanced(by: .milliseconds(2)), operation: "the test")
        }
        #expect(error?.description == "the test was not over at the deadline")
        await #expect(throws: TimeLimitExceeded.self) {
            try await completion.wait(until: MonotonicInstant(nanoseconds: .min), operation: "the test")
        }
        completion.complete(with: 4)
        #expect(try await completion.wait(until: MonotonicInstant(nanoseconds: 0), operation: "the test") == 4)
    }

    @Test func `a wait with a deadline ends with the event and with cancellation`() async throws {
        let completion = Completion<Int>()
        let far = MonotonicInstant.now.advanced(by: .seconds(3600))
        let waiting = Task { try await completion.wait(until: far, operation: "it") }
        let cancelled = Task { try await completion.wait(until: far, operation: "it") }
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
        completion.complete(with: 1)
        #expect(try await waiting.value == 1)
    }

    @Test func `event, cancellation and deadline may meet at any moment`() async throws {
        var generator = SplitMix64(seed: 3)
        for round in 0..<500 {
            let completion = Completion<Int>()
            let called = Counter()
            let hasDeadline = round % 2 == 0
            let deadline = MonotonicInstant.now.advanced(by: .microseconds(Int.random(in: 0..<300, using: &generator)))
            let waiting = (0..<3).map { _ in
                Task { try await completion.wait(until: hasDeadline ? deadline : nil, operation: "it") }
            }
            let (before, after) = (Int.random(in: 0..<20, using: &generator), Int.random(in: 0..<20, using: &generator))
            let setter = Task.detached {
                spin(before)
                completion.complete(with: round)
            }
            completion.whenComplete { _ in called.add() }
            spin(after)
            waiting[0].cancel()
            _ = await setter.value
            for (index, task) in waiting.enumerated() {
                switch await task.result {
                case .success(let value): #expect(value == round)
                case .failure(is CancellationError): #expect(index == 0)
                case .failure(let error): #expect(error is TimeLimitExceeded && hasDeadline)
                }
            }
            #expect(called.value == 1)
        }
    }
}
