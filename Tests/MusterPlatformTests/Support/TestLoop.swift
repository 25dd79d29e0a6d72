// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterTestSupport

/// Runs a test against a loop on a thread of its own, and ends that thread after it.
func withLoop<Result: Sendable>(
    _ parking: EventLoop.Parking = .onDemand, observer: (any EventLoopObserver)? = nil,
    _ body: (EventLoop) async throws -> Result
) async throws -> Result {
    let loop = try EventLoop(name: "test", parking: parking, observer: observer)
    let isOver = Latch()
    try loop.attachThread(name: "test-loop") { isOver.countDown() }
    do {
        let result = try await body(loop)
        loop.stop()
        await isOver.wait()
        return result
    } catch {
        loop.stop()
        await isOver.wait()
        throw error
    }
}

extension EventLoop {
    /// Runs a closure as a task on the loop and waits for it.
    func perform<Result: Sendable>(_ body: @escaping @Sendable () async throws -> Result) async throws -> Result {
        try await Task(executorPreference: self, operation: body).value
    }

    /// Runs a closure on the loop's thread, after the tasks that have been started there, and waits for it.
    func inTurn<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
        await Task(executorPreference: self) { body() }.value
    }
}

/// Both ways in which a loop's thread waits.
let everyParking: [EventLoop.Parking] = [.onDemand, .descriptors]
