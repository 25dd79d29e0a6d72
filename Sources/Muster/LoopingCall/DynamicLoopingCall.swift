// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterPlatform

/// Calls a function that says each time how long to wait before the next call.
///
/// Sound as `@unchecked Sendable` for its superclass' reason: it adds constants only.
public final class DynamicLoopingCall: LoopingCall, BackendComponent, @unchecked Sendable {
    /// The shortest delay; a shorter one, zero and negative ones included, is raised to it.
    package static let shortestDelay = Duration.milliseconds(1)
    /// The delay after a failed run of a loop that has no `maximumInterval`.
    package static let delayAfterFailure = Duration.seconds(1)

    private let function: @Sendable () async throws -> Duration?

    /// Creates a loop that does not run yet.
    ///
    /// - Parameters:
    ///   - name: The loop's name; loops of one name share their metrics.
    ///   - stallLimit: How long a run may last before the process counts as stuck; `nil` for as long as it takes.
    ///   - backend: The backend to run on; the selected one, asked for at the start, when `nil`.
    ///   - function: What to call; it returns the time from its end to its next start, or `nil` for the longest.
    public init(
        name: String, stallLimit: Duration? = nil, backend: Backend? = nil,
        _ function: @escaping @Sendable () async throws -> Duration?
    ) {
        self.function = function
        super.init(name: name, stallLimit: stallLimit, backend: backend)
    }

    /// Starts the loop. It may be started again after its end.
    ///
    /// - Parameters:
    ///   - initialDelay: The time before the first run.
    ///   - maximumInterval: The longest delay, and the one taken when the function returns `nil`. Without it
    ///     a `nil` ends the loop with `LoopingCallError/missingDelay(loop:)`.
    ///   - tolerance: How late a run may begin so that it shares a waking with neighbours; `nil` for a thousandth of the delay,
    ///     1 ms at most.
    ///   - stopsOnError: Whether an error of the function ends the loop. When not, it is logged and counted, and
    ///     the loop goes on after `maximumInterval`, or 1 s without one.
    /// - Throws: `LoopingCallError`; what selecting the backend or starting a job throws.
    public func start(
        initialDelay: Duration = .zero, maximumInterval: Duration? = nil, tolerance: Duration? = nil,
        stopsOnError: Bool = true
    ) throws {
        try start(
            initialDelay: initialDelay, maximumInterval: maximumInterval, tolerance: tolerance,
            stopsOnError: stopsOnError, in: nil)
    }

    func start(
        initialDelay: Duration, maximumInterval: Duration?, tolerance: Duration?, stopsOnError: Bool,
        in group: ThreadGroup?
    ) throws {
        try begin(
            DynamicPlan(
                loop: name, initialDelay: initialDelay, longest: maximumInterval, shortest: Self.shortestDelay,
                afterFailure: Self.delayAfterFailure),
            tolerance: tolerance, stopsOnError: stopsOnError, in: group, function)
    }
}

/// Each run says when the next one is due, counted from its own end.
struct DynamicPlan: LoopPlan {
    private let loop: String
    private let initialDelay: Duration
    private let longest: Duration?
    private let shortest: Duration
    private let afterFailure: Duration
    private var due = MonotonicInstant(nanoseconds: 0)

    /// Creates the plan.
    ///
    /// - Parameters:
    ///   - loop: The loop's name, for errors.
    ///   - initialDelay: The time before the first run.
    ///   - longest: The longest delay, and the one taken when a run names none.
    ///   - shortest: The shortest delay, so that a loop whose function returns zero does not spin.
    ///   - afterFailure: The delay after a run that failed, in a loop without a longest one.
    init(loop: String, initialDelay: Duration, longest: Duration?, shortest: Duration, afterFailure: Duration) {
        self.loop = loop
        self.initialDelay = initialDelay
        self.longest = longest
        self.shortest = shortest
        self.afterFailure = afterFailure
    }

    var interval: Duration? { nil }
    var drift: Duration { .zero }

    mutating func begin(at now: MonotonicInstant) -> MonotonicInstant {
        due = now.advanced(by: max(.zero, initialDelay))
        return due
    }

    mutating func runBegan(at now: MonotonicInstant) -> LoopRunStart {
        LoopRunStart(lateness: due.duration(to: now), nextDue: now)
    }

    mutating func runEnded(at now: MonotonicInstant, output: Duration??) throws -> LoopRunEnd {
        let delay: Duration
        switch output {
        case .none:
            delay = longest ?? afterFailure
        case .some(.none):
            guard let longest else { throw LoopingCallError.missingDelay(loop: loop) }
            delay = longest
        case .some(.some(let asked)):
            delay = longest.map { min(asked, $0) } ?? asked
        }
        due = now.advanced(by: max(shortest, delay))
        return LoopRunEnd(due: due)
    }
}
