// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterPlatform
import MusterTestSupport

/// Keeps the thread that an engine's next job will get from running anything, until it is told to go on.
struct Blocker {
    private let gate = Gate()

    /// Returns when the thread is held up.
    init(_ engine: any ExecutionEngine) async throws {
        let isHeld = Latch()
        let job = try engine.spawn(name: "blocker") { [gate] in
            // After this job, which gives its thread back before.
            EventLoop.current?.submit {
                isHeld.countDown()
                gate.pass()
            }
        }
        try await job.wait()
        await isHeld.wait()
    }

    func goOn() {
        gate.open()
    }
}
