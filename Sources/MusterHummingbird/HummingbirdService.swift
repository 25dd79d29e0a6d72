// SPDX-License-Identifier: Apache-2.0

#if Hummingbird
public import Hummingbird
public import HummingbirdCore
public import Muster
public import MusterPlatform
public import MusterServiceLifecycle

/// Runs a Hummingbird application in workers that share a listening socket.
///
/// ```swift
/// let launcher = try ProcessLauncher(settings: .load())
/// let socket = try launcher.listen("http", on: .tcp(host: "127.0.0.1", port: 8080))
/// try launcher.launchService(
///     HummingbirdService(name: "api", socket: socket) {
///         let router = Router()
///         router.get("hello") { _, _ in "hello\n" }
///         return Application(router: router)
///     },
///     workers: 4)
/// launcher.wait().exit()
/// ```
///
/// - The application is created at each start, in a worker and not in its supervisor. Its router, middleware, contexts,
///   services, server (HTTP/1, TLS, HTTP/2), server name, limit of connections, event loops and logger are used as by
///   `Application.run()`. Its address is not: the socket takes its place; neither is `onServerRunning`, which would be
///   given the channel of a server: see `whenReady` of the launcher.
/// - It has started, and its worker is ready, when it accepts connections: after the processes of
///   `beforeServerStarts(perform:)`.
/// - A graceful stop loses no request of HTTP/1: connections that are kept open are told to close with the next answer,
///   and those that stay idle are closed after a while. Connections of HTTP/2 get GOAWAY.
/// - Everything else is as with a `LifecycleService`.
public struct HummingbirdService: ServiceBase {
    /// Makes the channel of a connection from what answers requests.
    public typealias ChannelBuilder =
        @Sendable (@escaping HTTPChannelHandler.Responder) throws -> any ServerChildChannel

    private let service: LifecycleService

    /// Creates a service that runs an application.
    ///
    /// - Parameters:
    ///   - name: The service's name.
    ///   - socket: Where to accept connections.
    ///   - placement: Where handlers run.
    ///   - idleGrace: For how long, when the worker stops, a connection without a request may bring one more.
    ///   - backend: The backend to run on; the selected one when `nil`.
    ///   - channel: How connections are set up; as the application's `server` says when `nil`.
    ///   - application: Creates the application, or another `ApplicationProtocol`.
    public init<Application: ApplicationProtocol>(
        name: String, socket: ListeningSocket, placement: LifecyclePlacement = .backend,
        idleGrace: Duration = .seconds(1), backend: Backend? = nil, channel: ChannelBuilder? = nil,
        application: @escaping @Sendable () async throws -> Application
    ) {
        service = LifecycleService(name: name, placement: placement, backend: backend) { started in
            ApplicationServer(
                name: name, application: try await application(), socket: socket, idleGrace: idleGrace,
                channel: channel, started: started)
        }
    }

    /// Creates a service that answers by a router, with an application's default configuration.
    ///
    /// - Parameters:
    ///   - name: The service's name.
    ///   - socket: Where to accept connections.
    ///   - placement: Where handlers run.
    ///   - idleGrace: For how long, when the worker stops, a connection without a request may bring one more.
    ///   - backend: The backend to run on; the selected one when `nil`.
    ///   - channel: How connections are set up; HTTP/1 when `nil`.
    ///   - router: Creates the router.
    public init<Router: HTTPResponderBuilder & SendableMetatype>(
        name: String, socket: ListeningSocket, placement: LifecyclePlacement = .backend,
        idleGrace: Duration = .seconds(1), backend: Backend? = nil, channel: ChannelBuilder? = nil,
        router: @escaping @Sendable () async throws -> Router
    ) where Router.Responder.Context: InitializableFromSource<ApplicationRequestContextSource> {
        self.init(
            name: name, socket: socket, placement: placement, idleGrace: idleGrace, backend: backend, channel: channel
        ) {
            Application(router: try await router())
        }
    }

    /// The service's name.
    public var name: String { service.name }

    /// The group in whose thread the application runs.
    public var threadGroup: ThreadGroup { service.threadGroup }

    /// Creates the application and runs it; returns once it accepts connections.
    ///
    /// - Throws: What creating it throws, its services and its processes; ``HummingbirdServiceError``.
    public func start() async throws {
        try await service.start()
    }

    /// Stops accepting and answers what has come; closes what is left at the deadline, or at once.
    ///
    /// - Throws: As `LifecycleService.stop(graceful:until:)`.
    public func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        try await service.stop(graceful: graceful, until: deadline)
    }

    /// Waits until the application has ended.
    ///
    /// - Throws: As `LifecycleService.wait()`.
    public func wait() async throws {
        try await service.wait()
    }

    /// Registers what is called when the application ends by itself.
    public func whenEnded(_ action: @escaping @Sendable (ServiceEnd) -> Void) {
        service.whenEnded(action)
    }
}

/// Why an application cannot be run.
public enum HummingbirdServiceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The application's `server` does not say how its channels are made.
    case unknownServer(service: String)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .unknownServer(let service):
            """
            this version of Hummingbird hides how the server of '\(service)' sets up connections: pass it to \
            HummingbirdService, for example channel: { HTTP1Channel(responder: $0) }
            """
        }
    }
}
#endif
