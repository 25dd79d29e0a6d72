// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// A number that any thread may add to.
package final class Counter: Sendable {
    private let number = Atomic<Int>(0)

    package init() {}

    package var value: Int { number.load(ordering: .sequentiallyConsistent) }

    @discardableResult
    package func add(_ amount: Int = 1) -> Int {
        number.wrappingAdd(amount, ordering: .sequentiallyConsistent).newValue
    }
}
