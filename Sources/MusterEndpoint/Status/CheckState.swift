// SPDX-License-Identifier: Apache-2.0

/// What a health check, or all of a level, came to.
public enum CheckState: String, Codable, CaseIterable, Hashable, Sendable {
    /// All is well.
    case pass
    /// Something needs attention.
    case warn
    /// It fails.
    case fail
    /// Nobody has asked the check yet. It does not count for its levels.
    case unknown
}
