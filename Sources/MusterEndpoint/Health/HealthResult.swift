// SPDX-License-Identifier: Apache-2.0

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
    var bounded: HealthResult {
        switch self {
        case .pass: .pass
        case .warn(let reason): .warn(Self.reason(reason))
        case .fail(let reason): .fail(Self.reason(reason))
        }
    }

    private static let longestLine = 500

    /// A text with its control characters made spaces, and its end cut off when it is long.
    static func line(_ text: String) -> String {
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
