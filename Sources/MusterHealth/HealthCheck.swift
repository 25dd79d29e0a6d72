// SPDX-License-Identifier: Apache-2.0

import MusterLock
package import MusterPlatform

/// One question about the health of the process.
public struct HealthCheck: Sendable {
    /// How a check is evaluated.
    enum Kind: Sendable {
        case probe(@Sendable () -> HealthResult)
        case asynchronous(@Sendable () async throws -> Void)
        case reported(HealthReporter)
    }

    /// A letter or digit, then up to 62 more, or `.`, `_`, `:` and `-`.
    package let name: String
    package var levels: Set<HealthLevel>
    /// How long a run may take.
    package var timeout: Duration
    /// How old a result may be and still answer a request.
    package var maximumAge: Duration
    let kind: Kind

    private init(name: String, levels: [HealthLevel], timeout: Duration, maximumAge: Duration, kind: Kind) {
        self.name = name
        self.levels = Set(levels)
        self.timeout = timeout
        self.maximumAge = maximumAge
        self.kind = kind
    }

    /// A check that runs on the endpoint's thread at each request.
    ///
    /// - Parameter body: Must return quickly and must not block.
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
    ///   - timeout: How long after its start a run counts as failed. Keep it below the probe's own time-out, which
    ///     is one second in Kubernetes unless set.
    ///   - maximumAge: How old a result may be and still answer a request instead of a new run.
    ///   - body: Fails by throwing; the error's text is the reason.
    public static func asynchronous(
        _ name: String, _ levels: HealthLevel..., timeout: Duration = .seconds(1), maximumAge: Duration = .zero,
        body: @escaping @Sendable () async throws -> Void
    ) -> HealthCheck {
        HealthCheck(name: name, levels: levels, timeout: timeout, maximumAge: maximumAge, kind: .asynchronous(body))
    }

    /// A check whose results the application reports. It fails while there is no report, or only one that is too old.
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

    /// - Throws: `HealthError` for a check that cannot be registered.
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

    /// - Throws: `HealthError/invalidName(_:)`.
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

/// The probe that a health check contributes to. The levels are those of Kubernetes.
public enum HealthLevel: String, Sendable, CaseIterable {
    /// Whether the process works at all. A failure gets the process restarted, so a dependency of the process does not
    /// belong here.
    case live
    /// Whether the process can do its work now. A failure keeps traffic away.
    case ready
    /// Whether the process has finished starting. Passes for good once it has passed.
    case startup

    /// The last component of the level's path, for example `livez`.
    package var endpointName: String {
        switch self {
        case .live: "livez"
        case .ready: "readyz"
        case .startup: "startupz"
        }
    }
}

/// The result of a health check.
public enum HealthResult: Hashable, Sendable {
    /// All is well.
    case pass
    /// Something needs attention, but the check passes.
    case warn(String)
    /// The check fails, for this reason.
    case fail(String)

    /// Whether the check does not fail.
    package var isPassing: Bool {
        if case .fail = self { false } else { true }
    }

    /// The warning's or failure's text.
    package var reason: String? {
        switch self {
        case .pass: nil
        case .warn(let reason), .fail(let reason): reason
        }
    }

    /// The result without its reason.
    package var state: CheckState {
        switch self {
        case .pass: .pass
        case .warn: .warn
        case .fail: .fail
        }
    }

    /// The result with its text as one line of bounded length, fit for a response and a log.
    var bounded: HealthResult {
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

extension HealthResult {
    /// The result of an asynchronous check whose run takes too long.
    static func timedOut(after timeout: Duration) -> HealthResult {
        .fail("timed out after \(text(timeout))")
    }

    /// The result of a reported check.
    package static func reported(
        _ report: HealthReporter.Report?, maximumAge: Duration, at now: MonotonicInstant
    ) -> HealthResult {
        guard let report else { return .fail("never reported") }
        let age = report.instant.duration(to: now)
        guard age > maximumAge else { return report.result }
        return .fail("last reported \(text(age)) ago, more than \(text(maximumAge))")
    }

    /// The result of a check that is expected and not registered. It keeps the process from being ready, but must not get
    /// it restarted.
    package static func expected(at level: HealthLevel) -> HealthResult {
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

/// Why a check cannot be registered.
package enum HealthError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A check of this name is registered already.
    case duplicateName(String)
    /// The name cannot be part of a path.
    case invalidName(String)
    /// The check has no level, so no probe would evaluate it.
    case noLevels(check: String)
    /// A duration makes no sense.
    case invalidDuration(check: String, setting: String, String)

    package var description: String {
        switch self {
        case .duplicateName(let name):
            "a health check named '\(name)' is already registered; choose another name, or unregister the first one"
        case .invalidName(let name):
            """
            invalid health check name '\(name)': a name is a letter or digit (a-z, A-Z, 0-9), followed by up to 62 \
            letters, digits, '.', '_', ':' or '-'
            """
        case .noLevels(let check):
            "the health check '\(check)' has no level; give it at least one of live, ready and startup"
        case .invalidDuration(let check, let setting, let reason):
            "the \(setting) of the health check '\(check)' \(reason)"
        }
    }
}

/// Reports the results of one or more checks that the application evaluates itself.
///
/// Any thread may report, before or after the check is registered, at the cost of one uncontended lock.
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

    /// Creates a reporter without a report.
    public convenience init() {
        self.init(clock: SystemClock())
    }

    package init(clock: any RuntimeClock) {
        self.clock = clock
    }

    /// Reports a result, in place of the one before.
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
