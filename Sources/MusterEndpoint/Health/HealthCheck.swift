// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// One question about the health of the process.
public struct HealthCheck: Sendable {
    /// How a check comes by its result.
    enum Kind: Sendable {
        case probe(@Sendable () -> HealthResult)
        case asynchronous(@Sendable () async throws -> Void)
        case reported(HealthReporter)
    }

    /// The check's name: a letter or digit, then up to 62 more, or `.`, `_`, `:` and `-`.
    public let name: String
    /// What the check speaks for.
    public var levels: Set<HealthLevel>
    /// How long a run may take.
    public var timeout: Duration
    /// How old a result may be and still answer a request.
    public var maximumAge: Duration
    let kind: Kind

    private init(name: String, levels: [HealthLevel], timeout: Duration, maximumAge: Duration, kind: Kind) {
        self.name = name
        self.levels = Set(levels)
        self.timeout = timeout
        self.maximumAge = maximumAge
        self.kind = kind
    }

    /// A check that is answered at once, on the endpoint's thread, at each request.
    ///
    /// - Parameters:
    ///   - name: The check's name.
    ///   - levels: What it speaks for.
    ///   - body: Answers. It must be quick and must not block: it reads what is known already.
    /// - Returns: The check.
    public static func probe(
        _ name: String, _ levels: HealthLevel..., body: @escaping @Sendable () -> HealthResult
    ) -> HealthCheck {
        HealthCheck(name: name, levels: levels, timeout: .seconds(1), maximumAge: .zero, kind: .probe(body))
    }

    /// As ``probe(_:_:body:)``, with the levels as a set.
    package static func probe(
        _ name: String, _ levels: Set<HealthLevel>, body: @escaping @Sendable () -> HealthResult
    ) -> HealthCheck {
        HealthCheck(name: name, levels: Array(levels), timeout: .seconds(1), maximumAge: .zero, kind: .probe(body))
    }

    /// A check that takes its time. It runs as a job of its own; requests wait for it, but no longer than its
    /// time-out.
    ///
    /// One run is under way at most; requests that come meanwhile wait for the same run. A run that has timed out
    /// goes on, and its result counts when it comes.
    ///
    /// - Parameters:
    ///   - name: The check's name.
    ///   - levels: What it speaks for.
    ///   - timeout: How long after its start a run counts as failed. Keep it below the probe's own time-out, which
    ///     is one second in Kubernetes unless set.
    ///   - maximumAge: How old a result may be and still answer a request instead of a new run.
    ///   - body: Fails by throwing; the error's text is the reason.
    /// - Returns: The check.
    public static func asynchronous(
        _ name: String, _ levels: HealthLevel..., timeout: Duration = .seconds(1), maximumAge: Duration = .zero,
        body: @escaping @Sendable () async throws -> Void
    ) -> HealthCheck {
        HealthCheck(name: name, levels: levels, timeout: timeout, maximumAge: maximumAge, kind: .asynchronous(body))
    }

    /// A check whose results the application reports. It fails while there is no report, or only one that is too old.
    ///
    /// - Parameters:
    ///   - name: The check's name.
    ///   - levels: What it speaks for.
    ///   - maximumAge: How long a report counts.
    ///   - reporter: Where the application reports.
    /// - Returns: The check.
    public static func reported(
        _ name: String, _ levels: HealthLevel..., maximumAge: Duration, by reporter: HealthReporter
    ) -> HealthCheck {
        HealthCheck(
            name: name, levels: levels, timeout: .seconds(1), maximumAge: maximumAge, kind: .reported(reporter))
    }

    /// Where the application reports the check's results, if it does.
    package var reporter: HealthReporter? {
        if case .reported(let reporter) = kind { reporter } else { nil }
    }

    /// Whether a result answers a request at an instant.
    func mayReuse(_ report: HealthReporter.Report, at now: MonotonicInstant) -> Bool {
        maximumAge > .zero && report.instant.duration(to: now) <= maximumAge
    }

    /// Says what is wrong with the check, if anything.
    func validate() throws(HealthError) {
        try Self.validate(name: name)
        if levels.isEmpty { throw .noLevels(check: name) }
        if case .asynchronous = kind, timeout <= .zero {
            throw .invalidDuration(check: name, setting: "timeout", "must be longer than zero")
        }
        if case .reported = kind, maximumAge <= .zero {
            throw .invalidDuration(check: name, setting: "maximumAge", "must be longer than zero")
        }
        if maximumAge < .zero {
            throw .invalidDuration(check: name, setting: "maximumAge", "must not be negative")
        }
    }

    /// Says what is wrong with a name, if anything.
    static func validate(name: String) throws(HealthError) {
        let bytes = name.utf8
        let isValid =
            (1...63).contains(bytes.count)
            && bytes.enumerated().allSatisfy { index, byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: ":"), UInt8(ascii: "-"):
                    index > 0
                default: false
                }
            }
        guard isValid else { throw .invalidName(name) }
    }
}
