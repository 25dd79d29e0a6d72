// SPDX-License-Identifier: Apache-2.0

/// Which backend was selected, and why.
public struct BackendSelection: Hashable, Sendable {
    /// Who chose.
    public enum Source: String, Hashable, Sendable, CaseIterable {
        /// `Backend.initialize(_:)`.
        case explicit
        /// The registered default hook.
        case hook
        /// Nobody: there was no hook, or it failed.
        case `default`
    }

    /// The backend.
    public let type: BackendType
    /// Who chose it.
    public let source: Source

    /// Creates a description of a selection.
    ///
    /// - Parameters:
    ///   - type: The backend.
    ///   - source: Who chose it.
    public init(type: BackendType, source: Source) {
        self.type = type
        self.source = source
    }
}
