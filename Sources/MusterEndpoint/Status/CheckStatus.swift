// SPDX-License-Identifier: Apache-2.0

/// A health check and what it found last. A check that takes its time is not asked for a status; its latest answer to
/// a probe is shown.
public struct CheckStatus: Codable, Hashable, Sendable {
    /// The check's name.
    public var name: String
    /// What it speaks for: `live`, `ready`, `startup`.
    public var levels: [String]
    /// What it found.
    public var state: CheckState
    /// Why it warns or fails.
    public var reason: String?
    /// When it found it.
    public var foundAt: Double?

    /// Creates a description.
    ///
    /// - Parameters:
    ///   - name: The check's name.
    ///   - levels: What it speaks for.
    ///   - state: What it found.
    ///   - reason: Why it warns or fails.
    ///   - foundAt: When it found it, in seconds since 1970-01-01 00:00 UTC.
    public init(name: String, levels: [String], state: CheckState, reason: String? = nil, foundAt: Double? = nil) {
        self.name = name
        self.levels = levels
        self.state = state
        self.reason = reason
        self.foundAt = foundAt
    }
}
