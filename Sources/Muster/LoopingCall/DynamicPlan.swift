// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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
