// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

// The verdicts of the rules themselves, apart from clocks, locks and jobs.
extension HealthResult {
    /// What an asynchronous check is worth whose run takes too long.
    static func timedOut(after timeout: Duration) -> HealthResult {
        .fail("timed out after \(text(timeout))")
    }

    /// What a reported check is worth.
    ///
    /// - Parameters:
    ///   - report: The latest report, if there is one.
    ///   - maximumAge: How long a report counts.
    ///   - now: The present instant.
    static func reported(
        _ report: HealthReporter.Report?, maximumAge: Duration, at now: MonotonicInstant
    ) -> HealthResult {
        guard let report else { return .fail("never reported") }
        let age = report.instant.duration(to: now)
        guard age > maximumAge else { return report.result }
        return .fail("last reported \(text(age)) ago, more than \(text(maximumAge))")
    }

    /// What a check is worth that is expected but not registered.
    ///
    /// A process whose checks are not there yet is not ready, but it must not be restarted for it.
    static func expected(at level: HealthLevel) -> HealthResult {
        level == .live ? .warn("not yet registered") : .fail("not yet reported")
    }

    /// A duration for people: `250ms`, `1s`, `1.5s`.
    static func text(_ duration: Duration) -> String {
        let milliseconds = duration.clampedNanoseconds / 1_000_000
        if milliseconds < 1000 { return "\(milliseconds)ms" }
        let (seconds, rest) = milliseconds.quotientAndRemainder(dividingBy: 1000)
        if rest == 0 || seconds >= 60 { return "\(seconds)s" }
        var decimals = String(rest)
        decimals = String(repeating: "0", count: 3 - decimals.count) + decimals
        while decimals.last == "0" { decimals.removeLast() }
        return "\(seconds).\(decimals)s"
    }
}
