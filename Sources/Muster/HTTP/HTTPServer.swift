// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Glibc
public import HTTPTypes
public import Logging
import MusterExecution
import MusterHTTP
import MusterLock
public import MusterPlatform

/// A service that answers HTTP/1.1 requests.
///
/// ```swift
/// let socket = try launcher.listen("http", on: .tcp(host: "127.0.0.1", port: 8080))
/// let server = HTTPServer(name: "api", socket: socket) { routes in
///     routes.get("/hello/{name}") { request in
///         .text("Hello, \(request.parameters["name"] ?? "")!\n")
///     }
/// }
/// try launcher.launchService(server, workers: 4)
/// ```
///
/// Each handler is a job of the backend. On the cooperative backend the connections and all handlers are on the hub; on
/// the threading backend the connections are on a thread of their own, and each handler is on one of its own and may block.
/// On a backend of the application's own the connections have a thread, too.
///
/// A graceful stop accepts no more connections, answers the requests that have come, with `Connection: close`, and closes
/// connections that are still silent after ``Limits/idleGrace``. Handlers that are left shortly before the deadline are
/// cancelled. A server can be started again.
///
/// libmicrohttpd is loaded at the start.
public final class HTTPServer: ServiceBase, BackendComponent {
    /// What a client can use up. Each limit has its own answer.
    public struct Limits: Hashable, Sendable {
        /// With as many connections the one that has been silent for longest is closed for a new one; while all are busy,
        /// new ones wait in the socket's queue.
        public var connections = 10_000
        /// The memory of a connection, in bytes, in which the request's line and headers have to fit: 414 and 431.
        public var headerSize = 16 << 10
        /// The longest body in bytes: 413.
        public var bodySize = 1 << 20
        /// How long a connection may be silent, or take to send the headers of a request: 408 if it has begun one.
        public var idleTimeout: Duration = .seconds(75)
        /// How long a client may take from one part of a body to the next: 408.
        public var bodyTimeout: Duration = .seconds(30)
        /// How long a handler may take to answer: 503, and it is cancelled; `nil` for no limit.
        public var handlerTimeout: Duration? = .seconds(60)
        /// How long a client may take to read a part of a response; then the connection is closed.
        public var responseTimeout: Duration = .seconds(30)
        /// How long a silent connection is kept once a graceful stop has begun: its next request may be under way.
        public var idleGrace: Duration = .seconds(1)

        /// The defaults.
        public init() {}
    }

    /// A request.
    public struct Request: Sendable {
        /// The method, the target (`path`) and the headers.
        public let head: HTTPRequest
        /// The values of the parameters of the route's pattern, by their names, decoded.
        public let parameters: [String: String]
        /// The body.
        public let body: RequestBody

        /// The target without the query, as it stands in the request.
        public var path: Substring { Self.path(of: head.path ?? "/") }

        /// The first value of an argument of the query, decoded; empty for one without `=`.
        public func query(_ name: String) -> String? {
            guard let target = head.path, let mark = target.firstIndex(of: "?") else { return nil }
            let query = String(target[mark...].replacing("+", with: "%20"))
            let items = URLComponents(string: query, encodingInvalidCharacters: true)?.queryItems ?? []
            return items.first { $0.name == name }.map { $0.value ?? "" }
        }

        static func path(of target: String) -> Substring {
            target.firstIndex(of: "?").map { target[..<$0] } ?? target[...]
        }
    }

    /// What a request is answered with.
    public struct Response: Sendable {
        /// The status and the headers. `Content-Length`, `Transfer-Encoding`, `Connection` and `Date` are the server's.
        public var head: HTTPResponse
        /// The body; not sent in response to HEAD.
        public var body: ResponseBody

        /// Creates a response.
        public init(
            status: HTTPResponse.Status = .ok, headerFields: HTTPFields = [:], body: ResponseBody = .bytes([])
        ) {
            head = HTTPResponse(status: status, headerFields: headerFields)
            self.body = body
        }

        /// A response of plain text.
        public static func text(_ text: String, status: HTTPResponse.Status = .ok) -> Response {
            Response(status: status, headerFields: plainText, body: ResponseBody(content: .text(text)))
        }

        private static let plainText: HTTPFields = [.contentType: "text/plain; charset=utf-8"]
    }

    /// An error that is a handler's answer.
    public struct Failure: Error, Sendable, CustomStringConvertible {
        /// The answer's status.
        public let status: HTTPResponse.Status
        /// The answer's text.
        public let message: String

        /// Creates an answer.
        ///
        /// - Parameters:
        ///   - status: Its status.
        ///   - message: Its text; the status' own words unless given.
        public init(_ status: HTTPResponse.Status, _ message: String? = nil) {
            self.status = status
            self.message = message ?? status.reasonPhrase.lowercased()
        }

        /// Status and text.
        public var description: String { "\(status.code) \(message)" }
    }

    private enum Phase {
        case idle
        case starting
        case running(HTTPServerRun)
        case stopped
    }

    /// The service's name, and that of its jobs.
    public let name: String

    private let socket: ListeningSocket
    private let limits: Limits
    private let webConfigFile: String?
    private let accessLevel: Logger.Level?
    private let chosenBackend: Backend?
    private let router: HTTPRouter
    private let phase = Locked(Phase.idle)

    /// Creates a server that is not started.
    ///
    /// - Parameters:
    ///   - name: The service's name.
    ///   - socket: Where it listens: of a launcher's `listen`.
    ///   - limits: What a client can use up.
    ///   - webConfigFile: A file in the format of the endpoint's web config file, for TLS and headers. Renewed
    ///     certificates are taken up while the server runs.
    ///   - accessLog: The level at which each request is logged; `nil` for none.
    ///   - backend: The backend to run on; the selected one when `nil`.
    ///   - routes: Adds the routes.
    public init(
        name: String = "http", socket: ListeningSocket, limits: Limits = Limits(), webConfigFile: String? = nil,
        accessLog: Logger.Level? = nil, backend: Backend? = nil, routes: (inout HTTPRouter) -> Void
    ) {
        self.name = name
        self.socket = socket
        self.limits = limits
        self.webConfigFile = webConfigFile
        accessLevel = accessLog
        chosenBackend = backend
        var router = HTTPRouter()
        routes(&router)
        self.router = router
    }

    /// Starts to accept connections.
    ///
    /// - Throws: ``HTTPServerError``; ``BackendComponentNotAvailable`` if the backend has no HTTP server.
    public func start() async throws {
        if let problem = router.problems.first { throw HTTPServerError.badPattern(problem) }
        let isFirst = phase.withLock { phase in
            switch phase {
            case .idle, .stopped:
                phase = .starting
                return true
            case .starting, .running: return false
            }
        }
        guard isFirst else { throw HTTPServerError.alreadyStarted(name) }
        do {
            let backend = try chosenBackend ?? Backend.current
            _ = try backend.components[.httpServer]
            let run = try HTTPServerRun(
                name: name, socket: socket, limits: limits, webConfigFile: webConfigFile, router: router,
                accessLevel: accessLevel, backend: backend)
            try await run.start()
            phase.withLock { $0 = .running(run) }
        } catch {
            phase.withLock { $0 = .stopped }
            throw error
        }
    }

    /// Stops accepting; waits, if it is to be graceful, until the requests that have come are answered.
    public func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        guard let run else { return }
        defer { phase.withLock { $0 = .stopped } }
        try await run.stop(graceful: graceful, until: deadline)
    }

    /// Waits until the server has stopped.
    public func wait() async throws {
        try await run?.ended.wait()
    }

    private var run: HTTPServerRun? {
        phase.withLock { phase in
            if case .running(let run) = phase { run } else { nil }
        }
    }
}

/// Why an ``HTTPServer`` does not start.
public enum HTTPServerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A route's pattern cannot be used.
    case badPattern(String)
    /// It runs already.
    case alreadyStarted(String)
    /// libmicrohttpd is missing, or too old.
    case libraryUnavailable(reason: String)
    /// The system gives no descriptor, thread or memory.
    case noResources(SystemError)
    /// The web config file cannot be used.
    case badWebConfig(reason: String)
    /// The application has taken the name of one of its metrics.
    case metricNameTaken(reason: String)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .badPattern(let problem): "\(problem): correct the route"
        case .alreadyStarted(let name): "the HTTP server '\(name)' has been started already: launch each server once"
        case .libraryUnavailable(let reason):
            "libmicrohttpd could not be loaded (\(reason)): install the package libmicrohttpd12"
        case .noResources(let error):
            "the system has no room for the HTTP server (\(error)): raise its limits on open files and processes"
        case .badWebConfig(let reason): "web config file: \(reason)"
        case .metricNameTaken(let reason): "\(reason): rename the application's metric"
        }
    }
}
