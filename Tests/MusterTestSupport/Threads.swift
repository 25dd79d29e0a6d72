// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Synchronization

private let spun = Atomic<Int>(0)

/// Keeps the processor busy for some rounds of about a microsecond, so that threads meet at ever different moments.
@inline(never)
package func spin(_ rounds: Int) {
    for _ in 0..<rounds * 20 { _ = spun.load(ordering: .acquiring) }
}

/// Waits for a state that is reached without an event that could be awaited, letting everybody else run meanwhile.
package func until(_ condition: @escaping @Sendable () -> Bool) async throws {
    let clock = SystemClock()
    while !condition() { try await clock.sleep(for: .microseconds(200)) }
}
