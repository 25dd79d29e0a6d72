// SPDX-License-Identifier: Apache-2.0

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
