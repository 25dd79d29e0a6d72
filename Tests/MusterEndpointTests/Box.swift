// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform

/// A value that several threads may read and change.
final class Box<Value: Sendable>: Sendable {
    private let locked: Locked<Value>

    init(_ value: Value) {
        locked = Locked(value)
    }

    var value: Value {
        get { locked.withLock { $0 } }
        set { locked.withLock { $0 = newValue } }
    }

    func change(_ body: (inout Value) -> Void) {
        locked.withLock { body(&$0) }
    }
}
