// SPDX-License-Identifier: Apache-2.0

import CMuster

/// A point on the machine's monotonic clock (`CLOCK_MONOTONIC`), in nanoseconds since an arbitrary start.
///
/// It is the same clock in every process of the machine, so instants can be compared across processes.
public struct MonotonicInstant: InstantProtocol, Hashable, Comparable, Sendable {
    /// Nanoseconds since the clock's start.
    public var nanoseconds: Int64

    /// Creates an instant.
    ///
    /// - Parameter nanoseconds: Nanoseconds since the clock's start.
    @inlinable
    public init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    /// The present instant.
    public static var now: MonotonicInstant {
        MonotonicInstant(nanoseconds: cmuster_monotonic_ns())
    }

    /// An instant that is never reached.
    public static let distantFuture = MonotonicInstant(nanoseconds: .max)

    /// The instant a duration later; saturates at the ends of the clock instead of overflowing.
    ///
    /// - Parameter duration: How much later; negative for earlier.
    public func advanced(by duration: Duration) -> MonotonicInstant {
        let (sum, overflow) = nanoseconds.addingReportingOverflow(duration.clampedNanoseconds)
        guard overflow else { return MonotonicInstant(nanoseconds: sum) }
        return MonotonicInstant(nanoseconds: duration < .zero ? .min : .max)
    }

    /// The time from this instant to another.
    ///
    /// - Parameter other: The later instant; the result is negative when it is the earlier one.
    public func duration(to other: MonotonicInstant) -> Duration {
        let (difference, overflow) = other.nanoseconds.subtractingReportingOverflow(nanoseconds)
        guard overflow else { return .nanoseconds(difference) }
        return .nanoseconds(other.nanoseconds > nanoseconds ? Int64.max : Int64.min)
    }

    /// Whether one instant is before another.
    @inlinable
    public static func < (lhs: MonotonicInstant, rhs: MonotonicInstant) -> Bool {
        lhs.nanoseconds < rhs.nanoseconds
    }
}
