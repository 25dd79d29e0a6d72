// SPDX-License-Identifier: Apache-2.0

public import Logging
public import MusterMetrics
public import MusterPlatform

/// Serves metrics and health over HTTP.
///
/// It has a thread and an event loop of its own, so it answers however busy, blocked or hung everything else is, and
/// a client that reads slowly keeps nobody waiting. What a client can use up is bounded by the configuration.
public final class Endpoint: Sendable {
    private enum Phase {
        /// With the end of the last run's thread, which may be still to come.
        case stopped(ThreadEnd?)
        case running(EndpointServer, address: EndpointAddress, end: ThreadEnd)
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
    ///   - configuration: Where to listen and what to allow.
    ///   - metrics: Writes the metrics.
    ///   - health: The checks.
    ///   - status: Knows what the status page and `/status` show; without one they show the checks only.
    ///   - registry: Where the endpoint counts its own requests and shows the checks' state; nowhere when `nil`.
    ///   - logger: Where starting and stopping is told.
    public init(
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
        if case .running(let server, _, _) = phase { server.loop.submit { server.stop() } }
    }

    /// Starts to listen. When this returns, connections are accepted.
    ///
    /// - Throws: ``EndpointError``, whose text says what to do.
    public func start() throws(EndpointError) {
        let before = phase.withLock { $0 }
        if case .stopped(let end?) = before { end.wait() }
        let address = try phase.withLock { phase throws(EndpointError) in
            if case .running(_, let address, _) = phase { throw .alreadyStarted(address) }
            let started = try launch()
            phase = .running(started.server, address: started.address, end: started.end)
            return started.address
        }
        logger.info("the endpoint listens", metadata: ["address": "\(address)", "url": "\(url ?? "none")"])
    }

    private func launch() throws(EndpointError) -> (server: EndpointServer, address: EndpointAddress, end: ThreadEnd) {
        try configuration.validate()
        var webConfig: WebConfigSource?
        if let file = configuration.webConfigFile {
            do {
                webConfig = try WebConfigSource(file: file)
            } catch {
                throw .invalidWebConfig(error, setting: configuration.webConfigFileSetting)
            }
        }
        let socket: ListeningSocket
        do {
            socket = try ListeningSocket(configuration.address, setting: configuration.addressSetting)
        } catch {
            throw EndpointError(error)
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
            logger.warning("the endpoint does not measure itself: \(error)")
            return nil
        }
    }

    /// Where the endpoint listens, with the port that it has got; `nil` while it does not.
    public var address: EndpointAddress? {
        phase.withLock { phase in
            if case .running(_, let address, _) = phase { address } else { nil }
        }
    }

    /// How a client on the same machine reaches the endpoint; `nil` while it does not listen.
    public var url: String? {
        phase.withLock { phase in
            guard case .running(let server, let address, _) = phase else { return nil }
            return Self.url(of: address, isSecure: server.isSecure)
        }
    }

    private static func url(of address: EndpointAddress, isSecure: Bool) -> String? {
        guard let url = address.url, isSecure, url.hasPrefix("http:") else { return address.url }
        return "https:" + url.dropFirst("http:".count)
    }

    /// Stops listening, ends all connections and waits for the thread's end. Requests that wait for a check are
    /// refused with 503. Does nothing when the endpoint does not listen.
    ///
    /// Called by a check on the endpoint's own thread it does not wait.
    public func stop() {
        let ended = phase.withLock { phase in
            let ended = phase
            if case .running(_, _, let end) = phase { phase = .stopped(end) }
            return ended
        }
        guard case .running(let server, let address, let end) = ended else {
            if case .stopped(let end?) = ended, EventLoop.current?.name != EndpointServer.loopName { end.wait() }
            return
        }
        server.loop.submit { server.stop() }
        if server.loop.isCurrent { return }
        end.wait()
        logger.info("the endpoint has stopped", metadata: ["address": "\(address)"])
    }
}
