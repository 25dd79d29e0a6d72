// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// Where an application reports the results of a check that it makes in its own time.
///
/// A report may be made from any thread, before or after the check is registered, and costs one uncontended lock.
public final class HealthReporter: Sendable {
    /// A result and when it was reported.
    struct Report: Sendable {
        var result: HealthResult
        var instant: MonotonicInstant
    }

    private let clock: any RuntimeClock
    private struct State {
        var latest: Report?
        var onReport: (@Sendable (HealthResult, MonotonicInstant) -> Void)?
    }

    private let state = Locked(State())

    /// Creates a reporter that has nothing to report yet.
    ///
    /// - Parameter clock: Tells when a report was made; the same as the registry's.
    public init(clock: any RuntimeClock = SystemClock()) {
        self.clock = clock
    }

    /// Reports a result, in place of the one before.
    ///
    /// - Parameter result: What was found.
    public func report(_ result: HealthResult) {
        let report = Report(result: result.bounded, instant: clock.now)
        let onReport = state.withLock { state in
            state.latest = report
            return state.onReport
        }
        onReport?(report.result, report.instant)
    }

    /// Calls a closure for the latest report, if there is one, and for each that follows, on the reporting thread.
    package func onReport(_ body: @escaping @Sendable (HealthResult, MonotonicInstant) -> Void) {
        let latest = state.withLock { state in
            state.onReport = body
            return state.latest
        }
        if let latest { body(latest.result, latest.instant) }
    }

    /// The latest report.
    var current: Report? {
        state.withLock { $0.latest }
    }
}
