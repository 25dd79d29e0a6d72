// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterPlatform

/// A looping call of a backend, whose every run notes when it began, as its first instruction, and when it was due.
final class WitnessedLoop {
    private let clock = WitnessClock()
    private let backend: Backend
    private let overrun: OverrunPolicy

    init(_ type: BackendType, overrun: OverrunPolicy = .delay) throws {
        self.overrun = overrun
        backend = try Backends.make(type, clock: clock)
    }

    /// Runs a looping call a number of times.
    func run(interval: Int64, count: Int) throws -> WakingGrid {
        try start(interval: interval, count: count)()
    }

    /// Starts a looping call that ends after a number of runs.
    ///
    /// - Returns: Waits for its end.
    func start(interval: Int64, count: Int) throws -> () throws -> WakingGrid {
        let recorder = WakingRecorder(interval: interval, capacity: count)
        let clock = clock
        clock.forget()
        let loop = FixedIntervalLoopingCall(name: "bench", overrun: overrun, backend: backend) {
            let now = MonotonicInstant.now.nanoseconds
            let due = clock.lastDeadline
            // The first run follows the start at once; it was not slept for.
            guard due != 0 else { return }
            guard recorder.record(woken: now, due: due) else { throw LoopingCallDone() }
        }
        try loop.start(interval: .nanoseconds(interval))
        return {
            _ = try Blocking.run { try await loop.wait() }
            return recorder.grid
        }
    }

    func shutDown() {
        try? Backends.shutDown(backend)
    }
}
