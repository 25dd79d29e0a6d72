// SPDX-License-Identifier: Apache-2.0

import CMuster

/// The wall clock, for exported timestamps only; nothing is ever scheduled on it.
public enum WallClock {
    /// Seconds since 1970-01-01 00:00 UTC.
    public static var secondsSinceEpoch: Double {
        Double(cmuster_realtime_ns()) * 1e-9
    }

    /// The wall clock's reading at a monotonic instant, from how far that instant is from now.
    ///
    /// - Parameter instant: A monotonic instant, past or future.
    /// - Returns: Seconds since 1970-01-01 00:00 UTC.
    public static func secondsSinceEpoch(at instant: MonotonicInstant) -> Double {
        Double(cmuster_realtime_ns() &+ (instant.nanoseconds &- cmuster_monotonic_ns())) * 1e-9
    }
}
