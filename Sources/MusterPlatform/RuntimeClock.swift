// SPDX-License-Identifier: Apache-2.0

/// The clock everything that waits is written against, so that tests can hold time in their hands.
public protocol RuntimeClock: Sendable {
    /// The present instant.
    var now: MonotonicInstant { get }

    /// Suspends the calling task until an instant.
    ///
    /// - Parameter deadline: When to go on; an instant in the past lets others run first and returns.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    func sleep(until deadline: MonotonicInstant) async throws(CancellationError)
}

extension RuntimeClock {
    /// Suspends the calling task for a duration.
    ///
    /// - Parameter duration: How long from now.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(for duration: Duration) async throws(CancellationError) {
        try await sleep(until: now.advanced(by: duration))
    }
}
