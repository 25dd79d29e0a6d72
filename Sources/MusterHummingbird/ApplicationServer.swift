// SPDX-License-Identifier: Apache-2.0

#if Hummingbird
import Glibc
import Hummingbird
import HummingbirdCore
import Logging
import Muster
import MusterLock
import MusterNIO
import MusterPlatform
import MusterServiceLifecycle
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle

/// Runs an application as `ApplicationProtocol.run()` does, on a socket that is open already.
struct ApplicationServer<App: ApplicationProtocol>: ServiceLifecycle.Service {
    let name: String
    let application: App
    let socket: ListeningSocket
    let idleGrace: Duration
    let channel: HummingbirdService.ChannelBuilder?
    let started: StartReporter

    func run() async throws {
        let responder = answer(by: try await application.responder)
        let found =
            try channel?(responder) ?? application.server.channel(responder: responder, logger: application.logger)
        guard let found else { throw HummingbirdServiceError.unknownServer(service: name) }
        let server = ChannelServer(
            channel: found, application: application, socket: socket,
            grace: TimeAmount(idleGrace), started: started)
        let others = application.services
        if others.isEmpty { return try await server.run() }
        try await ServiceGroup(configuration: .init(services: others + [server], logger: application.logger)).run()
    }

    /// What `ApplicationProtocol.run()` does with a request.
    private func answer(by responder: App.Responder) -> HTTPChannelHandler.Responder {
        let date = DateHeader()
        let logger = application.logger
        let serverName = application.configuration.serverName
        return { request, writer, channel in
            let connection = DrainingConnection.current
            connection?.beginRequest()
            defer { connection?.endRequest() }
            var requestLogger = logger
            requestLogger[metadataKey: "hb.request.id"] = .stringConvertible(RequestID())
            var response = try await withLogger(requestLogger) { logger in
                let context = App.Context(source: .init(channel: channel, logger: logger))
                do {
                    return try await responder.respond(to: request, context: context)
                } catch let error as HTTPParserError {
                    throw error
                } catch {
                    logger.debug("Unrecognised Error", metadata: ["error.type": "\(error)"])
                    return Response(status: .internalServerError)
                }
            }
            response.headers[.date] = date.value
            if let serverName { response.headers[.server] = serverName }
            // A stream of HTTP/2 has its connection as parent, and no such header.
            if channel.parent == nil,
                connection?.closesWithNextResponse() == true || request.headers[.connection] == "close"
            {
                response.headers[.connection] = "close"
            }
            do {
                try await writer.write(response: response.head, body: response.body)
            } catch is HTTPParserError {
                // As itself it would have a second response written.
                throw FailedWhileResponding()
            }
        }
    }
}

/// A request could not be read while its response was being written.
private struct FailedWhileResponding: Error {}

extension HTTPServerBuilder {
    /// What sets up connections, of which the builder publishes only the server around it. That holds it until it runs,
    /// so it is found there. `nil` in a version of Hummingbird that holds it otherwise; a test tells.
    func channel(responder: @escaping HTTPChannelHandler.Responder, logger: Logger) throws -> (any ServerChildChannel)?
    {
        let server = try buildServer(
            configuration: ServerConfiguration(), eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: logger,
            responder: responder)
        return Self.find(in: Mirror(reflecting: server), depth: 3)
    }

    private static func find(in mirror: Mirror, depth: Int) -> (any ServerChildChannel)? {
        for child in mirror.children {
            if let channel = child.value as? any ServerChildChannel { return channel }
            if depth > 1, let channel = find(in: Mirror(reflecting: child.value), depth: depth - 1) { return channel }
        }
        return nil
    }
}

/// Accepts the connections of an application.
private struct ChannelServer<App: ApplicationProtocol>: ServiceLifecycle.Service {
    let channel: any ServerChildChannel
    let application: App
    let socket: ListeningSocket
    let grace: TimeAmount
    let started: StartReporter

    func run() async throws {
        for process in application.processesRunBeforeServerStart { try await process() }
        try await serve(channel)
        // The socket is retired before the services are told to stop.
        try? await gracefulShutdown()
    }

    private func serve<Child: ServerChildChannel>(_ child: Child) async throws {
        let logger = application.logger
        let grace = grace
        let limit = application.configuration.availableConnectionsDelegate.map(ConnectionLimit.init)
        let server = ConnectionServer<(state: DrainingConnection, value: Child.Value)>(
            socket: socket, logger: logger, channel: { $0.state.channel }, drain: { $0.state.drain() },
            handle: { connection in
                await DrainingConnection.$current.withValue(connection.state) {
                    await child.handle(value: connection.value, logger: logger)
                }
            },
            waitForConnection: { socket in
                if Task.isShuttingDownGracefully { throw CancellationError() }
                try await cancelWhenGracefulShutdown {
                    try await limit?.waitForRoom()
                    try await socket.isReadable()
                }
            },
            count: { limit?.count($0) })
        started.report()
        try await server.run(on: application.eventLoopGroup) { channel in
            child.setup(channel: channel, logger: logger).map { (DrainingConnection(channel, grace: grace), $0) }
        }
    }
}

/// The application's limit of connections. Those above it wait in the socket's queue, for any worker.
private final class ConnectionLimit: Sendable {
    private let delegate: Locked<any AvailableConnectionsDelegate>
    private let closed: (stream: AsyncStream<Void>, continuation: AsyncStream<Void>.Continuation)

    init(_ delegate: any AvailableConnectionsDelegate) {
        self.delegate = Locked(delegate)
        closed = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    func count(_ change: Int) {
        delegate.withLock { change > 0 ? $0.connectionOpened() : $0.connectionClosed() }
        if change < 0 { closed.continuation.yield() }
    }

    func waitForRoom() async throws {
        while !delegate.withLock({ $0.isAcceptingNewConnections() }) {
            for await _ in closed.stream { break }
            try Task.checkCancellation()
        }
    }
}

/// The header `date`, formatted once a second.
private final class DateHeader: Sendable {
    private let last = Locked((second: time_t(-1), text: ""))

    var value: String {
        let now = time(nil)
        return last.withLock { last in
            if last.second != now { last = (now, Self.text(now)) }
            return last.text
        }
    }

    private static func text(_ instant: time_t) -> String {
        var instant = instant
        var parts = tm()
        gmtime_r(&instant, &parts)
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return """
            \(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) \(1900 + parts.tm_year) \
            \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT
            """
    }
}
#endif
