// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Lets a thread wait until something has happened a number of times.
final class Countdown: Sendable {
    private let remaining: Atomic<Int>
    private let latch = Latch()

    init(_ count: Int) {
        remaining = Atomic(count)
    }

    func count() {
        if remaining.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 { latch.open() }
    }

    func wait() {
        latch.wait()
    }
}
