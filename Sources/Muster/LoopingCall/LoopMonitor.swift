// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform
import MusterSupervision

/// The looping calls of a backend that run now, and when each was to give its next sign of life.
public final class LoopMonitor: Sendable {
    /// A loop that has not run when it should have.
    public struct Overdue: Hashable, Sendable {
        /// The loop's name.
        public let loop: String
        /// How long its next start, or the end of its present run, has been due.
        public let by: Duration
    }

    private struct State {
        var entries: [ObjectIdentifier: LoopProgress] = [:]
        /// Where a supervisor sees when a loop has hung, with the limit that counts for most of them.
        var published: (signs: VitalSignsWriter, limit: Duration)?
    }

    private let state = Locked(State())

    /// The number of loops that run now.
    public var count: Int { state.withLock { $0.entries.count } }

    /// The loops that are overdue by more than a limit, the worst first, equals by name.
    ///
    /// - Parameters:
    ///   - limit: The longest time that is in order; a loop with a limit of its own is held to that.
    ///   - now: The present instant of the loops' clock.
    public func overdue(by limit: Duration, at now: MonotonicInstant) -> [Overdue] {
        let all = state.withLock { Array($0.entries.values) }
        return all.compactMap { progress in
            let by = progress.expected.duration(to: now)
            return by > progress.stallLimit ?? limit ? Overdue(loop: progress.loop, by: by) : nil
        }.sorted { ($1.by, $0.loop) < ($0.by, $1.loop) }
    }

    /// Lets a supervisor see when each loop will have hung. Loops that run already are shown too.
    func publish(to signs: VitalSignsWriter, limit: Duration) {
        state.withLock { state in
            state.published = (signs, limit)
            for progress in state.entries.values { progress.publish(to: signs, limit: limit) }
        }
    }

    func add(_ progress: LoopProgress) {
        state.withLock { state in
            state.entries[ObjectIdentifier(progress)] = progress
            if let (signs, limit) = state.published { progress.publish(to: signs, limit: limit) }
        }
    }

    func remove(_ progress: LoopProgress) {
        state.withLock { state in
            state.entries[ObjectIdentifier(progress)] = nil
            progress.withdraw()
        }
    }
}
