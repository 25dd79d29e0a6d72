// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Owes the registry a result. A runner that lets go of a job without running it, because its backend is stopping
/// for instance, lets go of the ticket too, and so the run ends instead of being under way for ever.
final class HealthRunTicket: Sendable {
    private let isPaid = Atomic<Bool>(false)
    private let pay: @Sendable (HealthResult) -> Void

    init(pay: @escaping @Sendable (HealthResult) -> Void) {
        self.pay = pay
    }

    deinit {
        settle(.fail("the check was not run: its job was dropped"))
    }

    /// Hands over the result; only the first one counts.
    func settle(_ result: HealthResult) {
        if !isPaid.exchange(true, ordering: .acquiringAndReleasing) { pay(result) }
    }
}
