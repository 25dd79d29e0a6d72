// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// A clock on which nobody waits: each sleep is written down, moves the clock on and is over.
///
/// Upstream: `SleepFixture`, for both backends.
public final class RecordedClock: RuntimeClock {
    private struct State {
        var now: MonotonicInstant
        var sleeps: [Duration] = []
    }

    private let state: Locked<State>

    /// Creates a clock.
    ///
    /// - Parameter now: Where it stands.
    public init(now: MonotonicInstant = MonotonicInstant(nanoseconds: 1_000_000_000_000)) {
        state = Locked(State(now: now))
    }

    /// Where the clock stands.
    public var now: MonotonicInstant { state.withLock { $0.now } }

    /// How long the sleeps would have been, in the order in which they began; one until an instant in the past is
    /// zero long.
    public var sleeps: [Duration] { state.withLock { $0.sleeps } }

    /// Moves the clock on, as work that takes time does.
    ///
    /// - Parameter duration: How far; a negative one changes nothing.
    public func advance(by duration: Duration) {
        state.withLock { $0.now = max($0.now, $0.now.advanced(by: duration)) }
    }

    /// Writes the sleep down, moves the clock to its end, lets others run and returns.
    ///
    /// - Parameter deadline: When to go on.
    /// - Throws: `CancellationError` when the task is cancelled.
    public func sleep(until deadline: MonotonicInstant) async throws(CancellationError) {
        if Task.isCancelled { throw CancellationError() }
        state.withLock { state in
            state.sleeps.append(max(.zero, state.now.duration(to: deadline)))
            state.now = max(state.now, deadline)
        }
        await Task.yield()
        if Task.isCancelled { throw CancellationError() }
    }
}
