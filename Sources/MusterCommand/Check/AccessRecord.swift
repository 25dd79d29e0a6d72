// SPDX-License-Identifier: Apache-2.0

import Configuration
import MusterPlatform

/// Notes which keys are read.
final class AccessRecord: AccessReporter {
    private let seen = Locked<Set<String>>([])

    func report(_ event: AccessEvent) {
        let key = event.metadata.key.components.joined(separator: ".")
        _ = seen.withLock { $0.insert(key) }
    }

    var keys: Set<String> { seen.withLock { $0 } }
}
