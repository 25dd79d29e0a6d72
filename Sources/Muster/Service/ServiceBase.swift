// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// A service that a launcher runs.
///
/// A service with a thread group implements only ``start()``: stopping and waiting apply to the group.
///
/// ```swift
/// struct Mailer: ServiceBase {
///     let threadGroup = ThreadGroup(name: "mailer")
///
///     func start() async throws {
///         try threadGroup.addTimer(name: "deliver", interval: .seconds(1)) {
///             try await deliverPendingMail()
///         }
///     }
/// }
/// ```
public protocol ServiceBase: Sendable {
    /// The service's name, for logs and errors; the type's name unless given.
    var name: String { get }

    /// The threads and timers of the service; ``ThreadGroup/none`` unless given.
    var threadGroup: ThreadGroup { get }

    /// Starts the service; returns once it has started. Its work belongs into threads and timers.
    ///
    /// - Throws: An error that keeps it from starting; the launcher then stops what has started and fails.
    func start() async throws

    /// Stops the service.
    ///
    /// - Parameters:
    ///   - graceful: Whether to let work that has begun finish.
    ///   - deadline: When the process is killed; `nil` for never. Jobs that are left shortly before are cancelled.
    /// - Throws: An error, which the launcher logs; it continues with the other services.
    func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws

    /// Waits until the service has ended.
    ///
    /// - Throws: The error that ended it.
    func wait() async throws

    /// Prepares for a restart, or takes up new settings: called on a reload.
    ///
    /// - Throws: An error, which the launcher logs.
    func reset() async throws

    /// Sets what to call when the service, once started, ends without being stopped. Does nothing unless given: a
    /// service whose threads and timers end, or fail, continues.
    ///
    /// A service whose end shall end its process implements this. ``ServiceLauncher``, and a ``ProcessLauncher`` in a
    /// worker, then stop gracefully, with status 0 when it has finished and 1 when it has failed. In a worker, the
    /// restart policy decides what follows.
    ///
    /// - Parameter action: Does not block; may be called at any time and from any thread.
    func whenEnded(_ action: @escaping @Sendable (ServiceEnd) -> Void)

    // A method of a service that looks like upstream's `stop` would compile and never be called. If there is one, it
    // satisfies one of these requirements, and then a deprecated default the last one, which the compiler warns of.

    /// Not to be implemented.
    associatedtype _StopGraceful = Never?
    /// Not to be implemented.
    associatedtype _Stop = Never?
    /// Not to be implemented.
    func stop(graceful: Bool) async throws -> _StopGraceful
    /// Not to be implemented.
    func stop() async throws -> _Stop
    /// Not to be implemented.
    static var _stopTakesADeadline: Void { get }
}

extension ServiceBase {
    /// What the compiler says of a service that has a method `stop()` or `stop(graceful:)`.
    @available(
        *, deprecated,
        message: "'stop()' and 'stop(graceful:)' are never called: implement 'stop(graceful:until:)'"
    )
    public static var _stopTakesADeadline: Void { () }
}

extension ServiceBase where _StopGraceful == Never?, _Stop == Never? {
    /// Nothing to say.
    public static var _stopTakesADeadline: Void { () }
}

extension ServiceBase where _StopGraceful == Never? {
    /// Stops the service without a deadline.
    @discardableResult
    public func stop(graceful: Bool) async throws -> Never? {
        try await stop(graceful: graceful, until: nil)
        return nil
    }
}

extension ServiceBase where _Stop == Never? {
    /// Stops the service at once, without a deadline.
    @discardableResult
    public func stop() async throws -> Never? {
        try await stop(graceful: false, until: nil)
        return nil
    }
}

extension ServiceBase {
    /// The type's name.
    public var name: String { String(describing: Self.self) }

    /// No threads and no timers.
    public var threadGroup: ThreadGroup { .none }

    /// Stops the thread group.
    ///
    /// - Throws: `TimeLimitExceeded` at the deadline.
    public func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        try await threadGroup.stop(graceful: graceful, until: deadline)
    }

    /// Waits for the thread group.
    ///
    /// - Throws: `CancellationError` when the calling task is cancelled.
    public func wait() async throws {
        try await threadGroup.wait()
    }

    /// Does nothing.
    public func reset() async throws {}

    /// Does nothing: the service never ends without being stopped.
    public func whenEnded(_ action: @escaping @Sendable (ServiceEnd) -> Void) {}
}

/// A service made of a thread group and closures.
///
/// ```swift
/// let mailer = ThreadGroupService(name: "mailer") { group in
///     try group.addTimer(name: "deliver", interval: .seconds(1)) { try await deliverPendingMail() }
/// }
/// ```
public struct ThreadGroupService: ServiceBase, BackendComponent {
    /// The component's name.
    public static let componentName = "Service"

    /// The service's name.
    public let name: String
    /// Its threads and timers.
    public let threadGroup: ThreadGroup

    private let onStart: @Sendable (ThreadGroup) async throws -> Void
    private let onReset: @Sendable (ThreadGroup) async throws -> Void

    /// Creates a service.
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
    public func start() async throws {
        try await onStart(threadGroup)
    }

    /// Takes up new settings.
    public func reset() async throws {
        try await onReset(threadGroup)
    }
}

/// What a reload (SIGHUP) does to the services.
public enum RestartMethod: String, Hashable, Sendable, CaseIterable {
    /// Stops each service, resets it and starts it again.
    case reload
    /// Resets each service while it runs.
    case mutate
}
