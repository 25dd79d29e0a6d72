// SPDX-License-Identifier: Apache-2.0

import Glibc
package import Logging
import MusterHTTP
package import MusterHealth
import MusterLock
package import MusterMetrics
public import MusterPlatform

/// Serves metrics and health over HTTP.
///
/// It has a thread and an event loop of its own, so it answers however busy, blocked or hung everything else is, and
/// a client that reads slowly keeps nobody waiting. What a client can use up is bounded by the configuration.
package final class Endpoint: Sendable {
    private enum Phase {
        /// With the end of the last run's thread, which may be still to come.
        case stopped(ThreadEnd?)
        case running(EndpointServer, address: ListenAddress, end: ThreadEnd)
    }

    private let configuration: EndpointConfiguration
    private let metrics: any MetricsRenderer
    private let health: HealthRegistry
    private let status: StatusBoard
    private let registry: MetricRegistry?
    private let logger: Logger
    private let phase = Locked(Phase.stopped(nil))

    /// Creates an endpoint that does not listen yet.
    ///
    /// - Parameters:
    ///   - status: What the status page and `/status` show; without one they show the checks only.
    ///   - registry: Where the endpoint counts its own requests and shows the checks' state; nowhere when `nil`.
    package init(
        configuration: EndpointConfiguration = EndpointConfiguration(), metrics: any MetricsRenderer,
        health: HealthRegistry, status: (any StatusSource)? = nil, registry: MetricRegistry? = nil,
        logger: Logger = Logger(label: "muster.endpoint")
    ) {
        self.configuration = configuration
        self.metrics = metrics
        self.health = health
        self.status = StatusBoard(source: status ?? BareStatus(), health: health)
        self.registry = registry
        self.logger = logger
    }

    deinit {
        let phase = phase.withLock { $0 }
        if case .running(let server, _, _) = phase { server.http.loop.submit { server.http.stop() } }
    }

    /// Starts to listen. When this returns, connections are accepted.
    ///
    /// - Throws: ``EndpointError``, whose text says what to do.
    package func start() throws(EndpointError) {
        let before = phase.withLock { $0 }
        if case .stopped(let end?) = before { end.wait() }
        let address = try phase.withLock { phase throws(EndpointError) in
            if case .running(_, let address, _) = phase { throw .alreadyStarted(address) }
            let started = try launch()
            phase = .running(started.server, address: started.address, end: started.end)
            return started.address
        }
        logger.info("endpoint listening", metadata: ["address": "\(address)", "url": "\(url ?? "none")"])
    }

    private func launch() throws(EndpointError) -> (server: EndpointServer, address: ListenAddress, end: ThreadEnd) {
        try configuration.validate()
        var webConfig: WebConfigSource?
        if let file = configuration.webConfigFile {
            do {
                webConfig = try WebConfigSource(file: file, settlingTime: configuration.webConfigSettlingTime)
            } catch {
                throw .invalidWebConfig(error, setting: configuration.webConfigFileSetting)
            }
        }
        let socket: ListeningSocket
        do {
            socket = try ListeningSocket(configuration.address, setting: configuration.addressSetting)
        } catch {
            throw .cannotListen(error)
        }
        let server: EndpointServer
        do {
            server = try EndpointServer(
                configuration: configuration, socket: socket, renderer: metrics, health: health, status: status,
                metrics: ownMetrics(), webConfig: webConfig, logger: logger)
        } catch {
            socket.unlinkFile()
            socket.closeDescriptor()
            throw error
        }
        let end = ThreadEnd()
        try server.start { end.signal() }
        return (server, socket.address, end)
    }

    private func ownMetrics() -> EndpointMetrics? {
        guard let registry else { return nil }
        do {
            return try EndpointMetrics(registry)
        } catch {
            logger.warning("endpoint metrics unavailable", metadata: ["reason": "\(error)"])
            return nil
        }
    }

    /// Where the endpoint listens, with the port that it has got; `nil` while it does not.
    package var address: ListenAddress? {
        phase.withLock { phase in
            if case .running(_, let address, _) = phase { address } else { nil }
        }
    }

    /// How a client on the same machine reaches the endpoint; `nil` while it does not listen.
    package var url: String? {
        phase.withLock { phase in
            guard case .running(let server, let address, _) = phase else { return nil }
            return Self.url(of: address, isSecure: server.http.isSecure)
        }
    }

    private static func url(of address: ListenAddress, isSecure: Bool) -> String? {
        guard let url = address.url, isSecure, url.hasPrefix("http:") else { return address.url }
        return "https:" + url.dropFirst("http:".count)
    }

    /// Stops listening, ends all connections and waits for the thread's end. Requests that wait for a check are
    /// refused with 503. Does nothing when the endpoint does not listen.
    ///
    /// Called by a check on the endpoint's own thread it does not wait.
    package func stop() {
        let ended = phase.withLock { phase in
            let ended = phase
            if case .running(_, _, let end) = phase { phase = .stopped(end) }
            return ended
        }
        guard case .running(let server, let address, let end) = ended else {
            if case .stopped(let end?) = ended, EventLoop.current?.name != EndpointServer.threadName { end.wait() }
            return
        }
        server.http.loop.submit { server.http.stop() }
        if server.http.loop.isCurrent { return }
        end.wait()
        logger.info("endpoint stopped", metadata: ["address": "\(address)"])
    }
}

/// Where the endpoint listens and what it allows.
public struct EndpointConfiguration: Sendable {
    /// Where to listen.
    public var address: ListenAddress = .tcp(host: "127.0.0.1", port: 9917)
    /// What the address' setting is called in messages, so that they name what to change.
    package var addressSetting = "the endpoint's address"
    /// How many connections there may be at once. When there are as many, the one that has been silent for longest
    /// makes room, so that idle clients cannot keep a probe out.
    package var connectionLimit = 256
    /// How many connections one IP address may have at once; 0 for no such limit. Unix sockets are exempt.
    package var perAddressConnectionLimit = 64
    /// How many more are accepted when nobody makes room. Only probes are answered on them.
    static let reservedConnections = 16
    /// How long a TLS handshake may take.
    package var handshakeTimeout: Duration = .seconds(10)
    /// How long a connection may take to send a whole request, from its start or the response before.
    public var idleTimeout: Duration = .seconds(90)
    /// How long an answer may take, until the client has read it.
    public var responseTimeout: Duration = .seconds(30)
    /// The memory of one connection in bytes. The request's line and headers have to fit in.
    public var requestSizeLimit = 16 << 10
    /// How many scrapes may be under way at once, those included whose response the client has not read yet. More
    /// are refused with 503.
    package var concurrentScrapeLimit = 40
    /// How hard scrapes are compressed when the client asks for it: 1 (fastest) to 9, or 0 for never.
    package var compressionLevel = 2
    /// A web config file in exporter-toolkit's format: TLS, client certificates, users, headers and a rate limit;
    /// `nil` for none. It is read again when it changes.
    public var webConfigFile: String?
    /// What the web config file's setting is called in messages, so that they name what to change.
    package var webConfigFileSetting = "the endpoint's webConfigFile"
    /// Whether `/livez`, `/readyz`, `/startupz` and `/healthz` are answered for everybody, whatever the web config
    /// file demands of clients. Encryption stays.
    public var opensProbes = false
    /// How long the web config file, and those that it names, have to be left alone before a change is taken up: what
    /// is still being written is not judged.
    var webConfigSettlingTime: Duration = .seconds(1)
    /// Compares passwords with hashes; tests put in their own.
    var passwordCheck: @Sendable (_ password: [UInt8], _ hash: BcryptHash) -> Bool = Bcrypt.matches

    /// Creates the default configuration.
    public init(address: ListenAddress = .tcp(host: "127.0.0.1", port: 9917)) {
        self.address = address
    }

    /// Checks the limits and the address.
    func validate() throws(EndpointError) {
        switch address {
        case .unix(let path):
            if let problem = ListenAddress.problem(withPath: path) {
                throw .cannotListen(.invalidAddress("unix:\(path)", reason: problem))
            }
        case .tcp(let host, _):
            if host.utf8.contains(0) {
                throw .cannotListen(.invalidAddress("\(address)", reason: "the host contains a NUL byte"))
            }
        case .descriptor, .systemd: break
        }
        try check("connectionLimit", connectionLimit, 2...65_536)
        try check("perAddressConnectionLimit", perAddressConnectionLimit, 0...65_536)
        try check("requestSizeLimit", requestSizeLimit, 2048...1 << 20)
        try check("compressionLevel", compressionLevel, 0...9)
        // A scrape that is not read occupies its connection, so they must not be able to take all of them.
        try check("concurrentScrapeLimit", concurrentScrapeLimit, 1...connectionLimit - 1)
        try check("handshakeTimeout", handshakeTimeout)
        try check("idleTimeout", idleTimeout)
        try check("responseTimeout", responseTimeout)
    }

    /// The part that the HTTP server enforces.
    var limits: HTTPTransport.Limits {
        HTTPTransport.Limits(
            connections: connectionLimit, connectionsPerAddress: perAddressConnectionLimit,
            reservedConnections: Self.reservedConnections, requestSize: requestSizeLimit,
            handshakeTimeout: handshakeTimeout, idleTimeout: idleTimeout, responseTimeout: responseTimeout)
    }

    private func check(_ setting: String, _ value: Int, _ range: ClosedRange<Int>) throws(EndpointError) {
        guard range.contains(value) else {
            throw .invalidSetting(setting, reason: "is \(value); it must be \(range.lowerBound) to \(range.upperBound)")
        }
    }

    private func check(_ setting: String, _ value: Duration) throws(EndpointError) {
        guard value > .zero, value <= .seconds(86_400) else {
            throw .invalidSetting(setting, reason: "is \(value); it must be longer than zero and at most a day")
        }
    }
}

/// Why the endpoint could not be started.
package enum EndpointError: Error, Hashable, Sendable, CustomStringConvertible {
    case cannotListen(ListenError)
    /// A limit or duration makes no sense.
    case invalidSetting(String, reason: String)
    /// The system gives no descriptor, thread or memory.
    case noResources(SystemError)
    /// libmicrohttpd is missing, or too old.
    case noLibrary(reason: String)
    /// `setting` names what says which file.
    case invalidWebConfig(WebConfigError, setting: String)
    case alreadyStarted(ListenAddress)

    init(_ error: HTTPTransportError) {
        self =
            switch error {
            case .noLibrary(let reason): .noLibrary(reason: reason)
            case .noResources(let error): .noResources(error)
            }
    }

    package var description: String {
        switch self {
        case .cannotListen(let error):
            // That one says by itself what it is about.
            if case .invalidAddress = error { "\(error)" } else { "the endpoint \(error)" }
        case .invalidSetting(let setting, let reason):
            "the endpoint's \(setting) \(reason)"
        case .noResources(let error):
            "the endpoint cannot start: \(error); no descriptor, thread or memory is left"
        case .noLibrary(let reason):
            "the endpoint needs libmicrohttpd 0.9.75 or later (Debian: libmicrohttpd12), which cannot be loaded: \(reason)"
        case .invalidWebConfig(let error, let setting):
            "invalid web config file (\(setting)): \(error)"
        case .alreadyStarted(let address):
            "the endpoint is already running at \(address); stop it first"
        }
    }
}

/// Writes the metrics that the endpoint serves.
package protocol MetricsRenderer: Sendable {
    /// Renders all metrics as they are now. Called on a thread of the endpoint's; it must not wait for anything.
    ///
    /// - Parameters:
    ///   - format: The format of the text.
    ///   - names: The families to show; all of them when empty.
    ///   - memory: Receives the text in place of its content.
    func render(_ format: ExpositionFormat, names: Set<String>, into memory: GrowingBytes)
}

extension Exposition: MetricsRenderer {}

/// Lets threads wait for the end of another one.
///
/// Sound as `@unchecked Sendable`: a semaphore is made for several threads.
final class ThreadEnd: @unchecked Sendable {
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        semaphore = .allocate(capacity: 1)
        semaphore.initialize(to: sem_t())
        sem_init(semaphore, 0, 0)
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func signal() {
        sem_post(semaphore)
    }

    func wait() {
        while sem_wait(semaphore) != 0, errno == EINTR {}
        // For the next one who waits.
        sem_post(semaphore)
    }
}
