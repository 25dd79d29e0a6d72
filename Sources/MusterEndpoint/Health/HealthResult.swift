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
        case .warn(let reason): .warn(Self.line(reason))
        case .fail(let reason): .fail(Self.line(reason))
        }
    }

    private static let longestReason = 500

    private static func line(_ text: String) -> String {
        var line = String.UnicodeScalarView()
        var count = 0
        for scalar in text.unicodeScalars {
            guard count < longestReason else {
                line.append("…")
                break
            }
            line.append(scalar.properties.generalCategory == .control ? " " : scalar)
            count += 1
        }
        return line.isEmpty ? "no reason given" : String(line)
    }
}
