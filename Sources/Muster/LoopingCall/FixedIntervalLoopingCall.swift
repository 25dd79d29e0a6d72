// SPDX-License-Identifier: Apache-2.0

public import MusterExecution
public import MusterPlatform

/// Calls a function on a fixed grid: start n is due at the first start plus n intervals, on the monotonic clock,
/// however long the runs take and however late they wake.
///
/// Upstream: `FixedIntervalLoopingCall`, without its drift, its rounding to 10 ms and its spinning below 5 ms.
public final class FixedIntervalLoopingCall: LoopingCall, BackendComponent {
    /// The component's name.
    public static let componentName = "FixedIntervalLoopingCall"
    /// The shortest interval; a shorter one is refused.
    public static let shortestInterval = Duration.microseconds(100)

    private let driver: LoopDriver<FixedIntervalPlan>
    private let overrun: OverrunPolicy

    /// Creates a loop that does not run yet.
    ///
    /// - Parameters:
    ///   - name: The loop's name; loops of one name share their metrics.
    ///   - overrun: What happens after a run that has lasted beyond the next start.
    ///   - stallLimit: How long a run may be overdue before the process counts as stuck; the process' liveness
    ///     limit when `nil`.
    ///   - backend: The backend to run on; the selected one, asked for at the start, when `nil`.
    ///   - function: What to call.
    public init(
        name: String, overrun: OverrunPolicy = .delay, stallLimit: Duration? = nil, backend: Backend? = nil,
        _ function: @escaping @Sendable () async throws -> Void
    ) {
        self.overrun = overrun
        driver = LoopDriver(name: name, stallLimit: stallLimit, backend: backend, function: function)
    }

    /// Starts the loop. It may be started again after its end.
    ///
    /// - Parameters:
    ///   - interval: The time between two starts, ``shortestInterval`` or more.
    ///   - initialDelay: The time before the first run.
    ///   - stopOnException: Whether an error of the function ends the loop. When not, it is logged and counted.
    /// - Throws: ``LoopingCallError``; what selecting the backend or starting a job throws.
    public func start(
        interval: Duration, initialDelay: Duration = .zero, stopOnException: Bool = true
    ) throws {
        try start(interval: interval, initialDelay: initialDelay, stopOnException: stopOnException, spawn: nil)
    }

    func start(
        interval: Duration, initialDelay: Duration, stopOnException: Bool, spawn: LoopDriver<FixedIntervalPlan>.Spawn?
    ) throws {
        guard interval >= Self.shortestInterval else {
            throw LoopingCallError.intervalTooShort(loop: name, interval: interval, shortest: Self.shortestInterval)
        }
        try driver.start(
            FixedIntervalPlan(interval: interval, initialDelay: initialDelay, policy: overrun),
            stopOnException: stopOnException, spawn: spawn)
    }

    /// The loop's name, the value of the label `loop`.
    public var name: String { driver.name }
    /// Whether the loop has been started and has not ended.
    public var isRunning: Bool { driver.isRunning }
    /// How the last life of the loop ended.
    public var outcome: Result<LoopEnd, any Error>? { driver.outcome }
    /// The loop's job, while it runs.
    public var job: Job? { driver.job }

    /// Ends the loop: at once while it waits, and after the present run while its function runs.
    public func stop() { driver.stop() }

    /// Waits for the end of the loop.
    ///
    /// - Parameter deadline: The latest instant; `nil` waits without end.
    /// - Returns: How the loop ended.
    /// - Throws: As ``LoopingCall/wait(until:)``.
    public func wait(until deadline: MonotonicInstant?) async throws -> LoopEnd {
        try await driver.wait(until: deadline)
    }
}
