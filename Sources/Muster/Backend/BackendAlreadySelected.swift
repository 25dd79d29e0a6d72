// SPDX-License-Identifier: Apache-2.0

/// Another backend was asked for after one had been selected.
///
/// Upstream: `BackendAlreadySelected`.
public struct BackendAlreadySelected: Error, Hashable, Sendable, CustomStringConvertible {
    /// The selected backend, and why it was.
    public let current: BackendSelection
    /// The backend that was asked for.
    public let requested: BackendType

    /// Names both, and what to do.
    public var description: String {
        """
        Backend already set to '\(current.type)' (\(current.source.rawValue)), so it cannot become '\(requested)': \
        select the backend once, early in main, before anything uses it
        """
    }
}
