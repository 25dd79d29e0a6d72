// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// One question about the health of the process.
public struct HealthCheck: Sendable {
    /// How a check comes by its result.
    package enum Kind: Sendable {
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
    package let kind: Kind

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
    package func mayReuse(_ report: HealthReporter.Report, at now: MonotonicInstant) -> Bool {
        maximumAge > .zero && report.instant.duration(to: now) <= maximumAge
    }

    /// Says what is wrong with the check, if anything.
    package func validate() throws(HealthError) {
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
    package static func validate(name: String) throws(HealthError) {
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

/// What a health check speaks for. The levels are those of Kubernetes' probes.
public enum HealthLevel: String, Sendable, CaseIterable {
    /// Whether the process works at all. Whoever watches it restarts the process when this fails, so a dependency
    /// of the process has no place here.
    case live
    /// Whether the process can do its work now. While this fails it gets none.
    case ready
    /// Whether the process has finished starting. Passes for good once it has passed.
    case startup

    /// The last component of the level's path, for example `livez`.
    public var endpointName: String {
        switch self {
        case .live: "livez"
        case .ready: "readyz"
        case .startup: "startupz"
        }
    }
}

/// What one health check found.
public enum HealthResult: Hashable, Sendable {
    /// All is well.
    case pass
    /// Something needs attention, but the check passes.
    case warn(String)
    /// The check fails, for this reason.
    case fail(String)

    /// Whether the check does not fail.
    public var isPassing: Bool {
        if case .fail = self { false } else { true }
    }

    /// The warning's or failure's text.
    public var reason: String? {
        switch self {
        case .pass: nil
        case .warn(let reason), .fail(let reason): reason
        }
    }

    /// The result with its text as one line of bounded length, fit for a response and a log.
    package var bounded: HealthResult {
        switch self {
        case .pass: .pass
        case .warn(let reason): .warn(Self.reason(reason))
        case .fail(let reason): .fail(Self.reason(reason))
        }
    }

    private static let longestLine = 500

    /// A text with its control characters made spaces, and its end cut off when it is long.
    package static func line(_ text: String) -> String {
        var line = String.UnicodeScalarView()
        var count = 0
        for scalar in text.unicodeScalars {
            guard count < longestLine else {
                line.append("…")
                break
            }
            line.append(scalar.properties.generalCategory == .control ? " " : scalar)
            count += 1
        }
        return String(line)
    }

    private static func reason(_ text: String) -> String {
        text.isEmpty ? "no reason given" : line(text)
    }
}

// The verdicts of the rules themselves, apart from clocks, locks and jobs.
extension HealthResult {
    /// What an asynchronous check is worth whose run takes too long.
    package static func timedOut(after timeout: Duration) -> HealthResult {
        .fail("timed out after \(text(timeout))")
    }

    /// What a reported check is worth.
    ///
    /// - Parameters:
    ///   - report: The latest report, if there is one.
    ///   - maximumAge: How long a report counts.
    ///   - now: The present instant.
    package static func reported(
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
    package static func expected(at level: HealthLevel) -> HealthResult {
        level == .live ? .warn("not yet registered") : .fail("not yet reported")
    }

    /// A duration for people: `250ms`, `1s`, `1.5s`.
    package static func text(_ duration: Duration) -> String {
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

/// Why the health registry refused.
public enum HealthError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A check of this name is registered already.
    case duplicateName(String)
    /// The name cannot be part of a path.
    case invalidName(String)
    /// The check speaks for no level, so nothing would ever ask it.
    case noLevels(check: String)
    /// A duration makes no sense.
    case invalidDuration(check: String, setting: String, String)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .duplicateName(let name):
            "a health check named '\(name)' is registered already; choose another name, or unregister the first one"
        case .invalidName(let name):
            """
            '\(name)' cannot name a health check: a name starts with a letter or digit (a-z, A-Z, 0-9) and goes on \
            with letters, digits, '.', '_', ':' or '-', 63 characters at most
            """
        case .noLevels(let check):
            "the health check '\(check)' has no level; give it at least one of live, ready and startup"
        case .invalidDuration(let check, let setting, let reason):
            "the \(setting) of the health check '\(check)' \(reason)"
        }
    }
}

/// Where an application reports the results of a check that it makes in its own time.
///
/// A report may be made from any thread, before or after the check is registered, and costs one uncontended lock.
public final class HealthReporter: Sendable {
    /// A result and when it was reported.
    package struct Report: Sendable {
        package var result: HealthResult
        package var instant: MonotonicInstant

        package init(result: HealthResult, instant: MonotonicInstant) {
            self.result = result
            self.instant = instant
        }
    }

    private let clock: any RuntimeClock
    private struct State {
        var latest: Report?
        var observers: [Int: @Sendable (Report) -> Void] = [:]
        var nextObserver = 0
    }

    private let state = Locked(State())

    /// Creates a reporter that has nothing to report yet.
    ///
    /// - Parameter clock: Tells when a report was made; the same as the registry's.
    public init(clock: any RuntimeClock = SystemClock()) {
        self.clock = clock
    }

    /// Reports a result, in place of the one before.
    ///
    /// - Parameter result: What was found.
    public func report(_ result: HealthResult) {
        let report = Report(result: result.bounded, instant: clock.now)
        let observers = state.withLock { state in
            state.latest = report
            return state.observers.values
        }
        for observer in observers { observer(report) }
    }

    /// Calls a closure for the latest report, if there is one, and for each that follows, on the reporting thread.
    ///
    /// - Returns: What ``removeObserver(_:)`` takes.
    package func addObserver(_ body: @escaping @Sendable (Report) -> Void) -> Int {
        let (number, latest) = state.withLock { state in
            defer { state.nextObserver += 1 }
            state.observers[state.nextObserver] = body
            return (state.nextObserver, state.latest)
        }
        if let latest { body(latest) }
        return number
    }

    package func removeObserver(_ number: Int) {
        state.withLock { _ = $0.observers.removeValue(forKey: number) }
    }

    /// The latest report.
    package var current: Report? {
        state.withLock { $0.latest }
    }
}
