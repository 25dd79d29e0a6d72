// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// One run of an asynchronous check, and who waits for it.
///
/// Sound as `@unchecked Sendable`: `waiters` is touched only under the registry's lock, the rest is immutable.
final class HealthRun: @unchecked Sendable {
    struct Waiter {
        let evaluation: HealthEvaluation
        let index: Int
    }

    let startedAt: MonotonicInstant
    var waiters: [Waiter] = []

    init(startedAt: MonotonicInstant) {
        self.startedAt = startedAt
    }
}
