// SPDX-License-Identifier: Apache-2.0

/// Names a backend: one of Muster's two, or one that the application has registered.
///
/// Upstream: `oslo_service.backend.BackendType`.
public struct BackendType: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The name, which is also the value of the label `backend`.
    public let rawValue: String

    /// Creates a name.
    ///
    /// - Parameter rawValue: The name in lower case, for example `cooperative`.
    public init(rawValue: String) {
        self.rawValue = rawValue
    }

    /// Creates a name.
    ///
    /// - Parameter name: The name in lower case, for example `cooperative`.
    public init(_ name: String) {
        self.init(rawValue: name)
    }

    /// All jobs take turns on one thread (upstream: `EVENTLET`).
    public static let cooperative = BackendType("cooperative")
    /// Each job has a native thread of its own (upstream: `THREADING`).
    public static let threading = BackendType("threading")
    /// What is taken when nobody says otherwise (upstream: `DEFAULT_BACKEND_TYPE`).
    public static let `default` = BackendType.cooperative

    /// The name.
    public var description: String { rawValue }
}
