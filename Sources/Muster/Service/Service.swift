// SPDX-License-Identifier: Apache-2.0

/// A ready-made service: a thread group, and closures for what is special about it.
///
/// ```swift
/// let mailer = Service(name: "mailer") { group in
///     try group.addTimer(name: "deliver", interval: .seconds(1)) { try await deliverPendingMail() }
/// }
/// ```
///
/// Upstream: `Service`.
public struct Service: ServiceBase, BackendComponent {
    /// The component's name.
    public static let componentName = "Service"

    /// The service's name.
    public let name: String
    /// Its threads and timers.
    public let threadGroup: ThreadGroup

    private let onStart: @Sendable (ThreadGroup) async throws -> Void
    private let onReset: @Sendable (ThreadGroup) async throws -> Void

    /// Creates a service.
    ///
    /// - Parameters:
    ///   - name: The service's name, which its thread group has too.
    ///   - threads: The most threads alive at a time.
    ///   - backend: The backend to run on; the selected one when `nil`.
    ///   - onReset: Takes up new settings on a reload.
    ///   - onStart: Starts the service: adds timers and threads to its group.
    public init(
        name: String, threads: Int = 1000, backend: Backend? = nil,
        onReset: @escaping @Sendable (ThreadGroup) async throws -> Void = { _ in },
        onStart: @escaping @Sendable (ThreadGroup) async throws -> Void
    ) {
        self.name = name
        threadGroup = ThreadGroup(name: name, capacity: threads, backend: backend)
        self.onStart = onStart
        self.onReset = onReset
    }

    /// Starts the service.
    ///
    /// - Throws: What `onStart` throws.
    public func start() async throws {
        try await onStart(threadGroup)
    }

    /// Takes up new settings.
    ///
    /// - Throws: What `onReset` throws.
    public func reset() async throws {
        try await onReset(threadGroup)
    }
}
