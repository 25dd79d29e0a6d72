// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth

/// A source that a test holds in its hands.
final class TestStatusSource: StatusSource {
    let found = Box(StatusLook(report: StatusSamples.report()))
    let looks = Box(0)

    func look() -> StatusLook {
        looks.change { $0 += 1 }
        return found.value
    }
}
