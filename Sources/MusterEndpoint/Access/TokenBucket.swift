// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// Counts requests against a rate limit. Told the time, so it needs no clock.
struct TokenBucket {
    let limit: RateLimit
    /// The instant at which the bucket will be full, in monotonic nanoseconds: all that there is to remember.
    private var fullAt: Int64 = .min

    init(_ limit: RateLimit) {
        self.limit = limit
    }

    /// Takes one token.
    ///
    /// - Parameter now: The time.
    /// - Returns: Whether there was one.
    mutating func take(at now: MonotonicInstant) -> Bool {
        let interval = limit.interval.clampedNanoseconds
        let next = max(fullAt, now.nanoseconds) + interval
        let (room, overflows) = interval.multipliedReportingOverflow(by: Int64(limit.burst))
        guard overflows || next - now.nanoseconds <= room else { return false }
        fullAt = next
        return true
    }
}
