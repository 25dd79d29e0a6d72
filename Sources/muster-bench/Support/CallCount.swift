// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Synchronization

/// What many looping calls do in each run: they note the instant, and count.
///
/// Sound as `@unchecked Sendable`: each slot belongs to one looping call, whose runs never overlap.
final class CallCount: @unchecked Sendable {
    private let instants: UnsafeMutablePointer<Int64>
    private let calls = Atomic<Int>(0)

    init(slots: Int) {
        instants = .allocate(capacity: slots)
        instants.initialize(repeating: 0, count: slots)
    }

    deinit {
        instants.deallocate()
    }

    func count(in slot: Int) {
        instants[slot] = MonotonicInstant.now.nanoseconds
        calls.wrappingAdd(1, ordering: .relaxed)
    }

    var total: Int { calls.load(ordering: .relaxed) }
}
