// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
import MusterPlatform

/// What a slot keeps over the generations of its workers. Belongs to the supervisor's thread.
final class SlotRecord {
    let source: SlotSource
    var arena: OwnedDescriptor?
    /// CPU time of the processes that are gone, in seconds.
    var cpuSeconds = 0.0

    init(source: SlotSource) {
        self.source = source
    }
}
