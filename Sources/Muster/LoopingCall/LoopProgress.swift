// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterSupervision
import Synchronization

/// When one loop is expected to move on: start its next run, or be done with the present one.
final class LoopProgress: Sendable {
    let loop: String
    let stallLimit: Duration?
    private let instant: Atomic<Int64>
    private let deadline = Locked<(cell: DeadlineCell, limit: Duration)?>(nil)

    init(loop: String, stallLimit: Duration?, expected: MonotonicInstant) {
        self.loop = loop
        self.stallLimit = stallLimit
        instant = Atomic(expected.nanoseconds)
    }

    var expected: MonotonicInstant {
        get { MonotonicInstant(nanoseconds: instant.load(ordering: .relaxed)) }
        set {
            instant.store(newValue.nanoseconds, ordering: .relaxed)
            deadline.withLock { deadline in
                if let (cell, limit) = deadline { cell.set(newValue.advanced(by: limit).nanoseconds) }
            }
        }
    }

    /// Shows a supervisor from when on the loop counts as hung. Where there is no room, only this process' own probe
    /// notices.
    func publish(to signs: VitalSignsWriter, limit: Duration) {
        guard let cell = signs.allocateDeadline() else { return }
        deadline.withLock { $0 = (cell, stallLimit ?? limit) }
        expected = expected
    }

    func withdraw() {
        // The cell is given back when nobody holds it.
        deadline.withLock { $0 = nil }
    }
}
