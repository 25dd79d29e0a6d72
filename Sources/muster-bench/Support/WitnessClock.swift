// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Synchronization

/// The system's clock, which remembers until when was slept last: that is when a looping call's run was due.
final class WitnessClock: RuntimeClock {
    private let deadline = Atomic<Int64>(0)

    var now: MonotonicInstant { .now }

    /// When the latest sleep was to end, in nanoseconds; 0 before the first.
    var lastDeadline: Int64 { deadline.load(ordering: .relaxed) }

    func forget() {
        deadline.store(0, ordering: .relaxed)
    }

    func sleep(until deadline: MonotonicInstant) async throws(CancellationError) {
        self.deadline.store(deadline.nanoseconds, ordering: .relaxed)
        try await SystemClock().sleep(until: deadline)
    }
}
