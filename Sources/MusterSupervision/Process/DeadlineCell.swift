// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// A place where a worker tells its supervisor by when something must have happened, lest it count as hung.
///
/// It is given back when its owner lets go of it.
package final class DeadlineCell: Sendable {
    private let writer: VitalSignsWriter
    private let index: Int

    init(_ writer: VitalSignsWriter, index: Int) {
        self.writer = writer
        self.index = index
    }

    deinit {
        writer.free(index)
    }

    /// Counts as hung from an instant on, unless set or cleared again before.
    ///
    /// - Parameter nanoseconds: The instant on the monotonic clock, in nanoseconds.
    package func set(_ nanoseconds: Int64) {
        writer.setDeadline(index, max(1, nanoseconds))
    }

    /// Counts as hung from an instant on, unless set or cleared again before.
    package func set(_ instant: MonotonicInstant) {
        set(instant.nanoseconds)
    }

    /// Nothing is due.
    package func clear() {
        writer.clearDeadline(index)
    }
}
