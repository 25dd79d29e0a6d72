// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// What is known, and gathered, while one event is handled.
struct SupervisorTurn {
    let now: MonotonicInstant
    var actions: [SupervisorAction] = []

    mutating func notice(_ notice: SupervisorNotice) {
        actions.append(.notice(notice))
    }
}
