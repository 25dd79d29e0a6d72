// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform
import Synchronization

/// The looping calls of a backend that run now, and when each was to give its next sign of life.
public final class LoopMonitor: Sendable {
    /// A loop that has not run when it should have.
    public struct Overdue: Hashable, Sendable {
        /// The loop's name.
        public let loop: String
        /// How long its next start, or the end of its present run, has been due.
        public let by: Duration
    }

    private let entries = Locked<[ObjectIdentifier: LoopProgress]>([:])

    /// The number of loops that run now.
    public var count: Int { entries.withLock { $0.count } }

    /// The loops that are overdue by more than a limit, the worst first, equals by name.
    ///
    /// - Parameters:
    ///   - limit: The longest time that is in order; a loop with a limit of its own is held to that.
    ///   - now: The present instant of the loops' clock.
    public func overdue(by limit: Duration, at now: MonotonicInstant) -> [Overdue] {
        let all = entries.withLock { Array($0.values) }
        return all.compactMap { progress in
            let by = progress.expected.duration(to: now)
            return by > progress.stallLimit ?? limit ? Overdue(loop: progress.loop, by: by) : nil
        }.sorted { ($1.by, $0.loop) < ($0.by, $1.loop) }
    }

    func add(_ progress: LoopProgress) {
        entries.withLock { $0[ObjectIdentifier(progress)] = progress }
    }

    func remove(_ progress: LoopProgress) {
        entries.withLock { $0[ObjectIdentifier(progress)] = nil }
    }
}

/// When one loop is expected to move on: start its next run, or be done with the present one.
final class LoopProgress: Sendable {
    let loop: String
    let stallLimit: Duration?
    private let instant: Atomic<Int64>

    init(loop: String, stallLimit: Duration?, expected: MonotonicInstant) {
        self.loop = loop
        self.stallLimit = stallLimit
        instant = Atomic(expected.nanoseconds)
    }

    var expected: MonotonicInstant {
        get { MonotonicInstant(nanoseconds: instant.load(ordering: .relaxed)) }
        set { instant.store(newValue.nanoseconds, ordering: .relaxed) }
    }
}
