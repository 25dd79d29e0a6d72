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
    /// - Returns: Seconds since 1970-01-01 00:00 UTC; infinity for ``MonotonicInstant/distantFuture``.
    public static func secondsSinceEpoch(at instant: MonotonicInstant) -> Double {
        if instant == .distantFuture { return .infinity }
        let (ahead, overflow) = instant.nanoseconds.subtractingReportingOverflow(cmuster_monotonic_ns())
        let (sum, overflowed) = cmuster_realtime_ns().addingReportingOverflow(ahead)
        guard !overflow, !overflowed else { return instant.nanoseconds < 0 ? -.infinity : .infinity }
        return Double(sum) * 1e-9
    }
}
