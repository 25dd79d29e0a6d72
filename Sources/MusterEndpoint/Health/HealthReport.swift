// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// The answers of all checks of one level at one time.
public struct HealthReport: Hashable, Sendable {
    /// The whole report's verdict.
    public enum Status: String, Sendable {
        /// All checks pass.
        case pass
        /// All checks pass, some with a warning.
        case warn
        /// At least one check fails.
        case fail
    }

    /// One check's answer.
    public struct Entry: Hashable, Sendable {
        /// The check's name.
        public let name: String
        /// What it found; ``HealthResult/pass`` when it was excluded.
        public let result: HealthResult
        /// When the result was found; `nil` when there is none.
        public let instant: MonotonicInstant?
        /// Whether the request wished not to ask this check.
        public let isExcluded: Bool

        init(name: String, result: HealthResult, instant: MonotonicInstant? = nil, isExcluded: Bool = false) {
            self.name = name
            self.result = result
            self.instant = instant
            self.isExcluded = isExcluded
        }
    }

    /// What was asked for.
    public let level: HealthLevel
    /// The checks' answers, in the order of their registration.
    public let entries: [Entry]
    /// Names that were to be excluded but name no check of the level.
    public let unmatchedExclusions: [String]

    /// The verdict: the worst of the entries that are not excluded.
    public var status: Status {
        var status = Status.pass
        for entry in entries {
            switch entry.result {
            case .pass: continue
            case .warn: status = .warn
            case .fail: return .fail
            }
        }
        return status
    }

    /// Whether no check fails.
    public var isPassing: Bool { status != .fail }
}
