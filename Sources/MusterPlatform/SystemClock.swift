// SPDX-License-Identifier: Apache-2.0

/// The machine's monotonic clock.
///
/// A sleeping task waits in the timer heap of the event loop that its thread runs: on a job's thread that is the
/// engine's own loop. Called from any other thread it waits in the heap of one shared loop.
public struct SystemClock: RuntimeClock {
    /// Creates the clock.
    public init() {}

    /// The present instant.
    public var now: MonotonicInstant { .now }

    /// Suspends the calling task until an instant.
    ///
    /// - Parameter deadline: When to go on.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(until deadline: MonotonicInstant) async throws(CancellationError) {
        let loop = EventLoop.current ?? EventLoop.auxiliary
        try await loop.sleep(until: deadline)
    }
}
