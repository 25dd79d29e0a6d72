// SPDX-License-Identifier: Apache-2.0

/// A component that the backend does not have.
///
/// Upstream: `BackendComponentNotAvailable`.
public struct BackendComponentNotAvailable: Error, Hashable, Sendable, CustomStringConvertible {
    /// The component's name.
    public let component: String
    /// The backend that was asked.
    public let backend: BackendType
    /// The backends that have it, sorted by name.
    public let availableIn: [BackendType]

    /// Names all three.
    public var description: String {
        let elsewhere =
            availableIn.isEmpty
            ? "no registered backend has it"
            : "it is available in: " + availableIn.map { "'\($0)'" }.joined(separator: ", ")
        return "Component '\(component)' is not available in backend '\(backend)'; \(elsewhere)"
    }
}
