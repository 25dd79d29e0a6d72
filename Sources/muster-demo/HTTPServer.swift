// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster
import NIOCore
import NIOHTTP1
import NIOPosix

/// SwiftNIO's HTTP/1 server on one event loop of its own, which reads and writes; what is asked for is worked out in
/// a thread of the service's group.
final class HTTPServer: Sendable {
    let url: String

    private static let backlog: Int32 = 4096

    private let group: MultiThreadedEventLoopGroup
    private let listener: any Channel
    /// What was opened here, closed by now but for SwiftNIO's duplicate; a Unix socket has a file to be removed.
    private let ownSocket: ListeningSocket?
    private let connections: NIOLoopBound<ConnectionTable>

    init(
        at target: ListenTarget, threadGroup: ThreadGroup, metrics: StoreMetrics,
        respond: @escaping @Sendable (HTTPRequest) async -> HTTPReply
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let eventLoop = group.any()
        do {
            let connections = try await eventLoop.submit {
                NIOLoopBound(ConnectionTable(eventLoop: eventLoop), eventLoop: eventLoop)
            }.get()
            let bootstrap = ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: Self.backlog)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                        try channel.pipeline.syncOperations.addHandler(
                            RequestHandler(
                                threadGroup: threadGroup, metrics: metrics, table: connections.value,
                                respond: respond))
                    }
                }
            switch target {
            case .address(let address):
                let socket = try ListeningSocket(address, setting: "--http", backlog: Self.backlog)
                defer { socket.closeDescriptor() }
                listener = try await Self.listen(on: socket.descriptor, with: bootstrap)
                ownSocket = socket
            case .descriptor(let descriptor):
                do {
                    listener = try await Self.listen(on: descriptor, with: bootstrap)
                } catch {
                    throw InheritedSocketError(descriptor: descriptor, reason: "\(error)")
                }
                ownSocket = nil
            }
            self.group = group
            self.connections = connections
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        url = Self.url(of: listener.localAddress)
    }

    private static func listen(on descriptor: Int32, with bootstrap: ServerBootstrap) async throws -> any Channel {
        // SwiftNIO owns what it is given, and the next start of the service may need the socket again.
        let duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard duplicate >= 0 else { throw SystemError("duplicate the listening socket") }
        let channel = try await bootstrap.withBoundSocket(duplicate).get()
        // SwiftNIO has just shortened the queue that all processes share to 128 connections.
        _ = Glibc.listen(descriptor, backlog)
        return channel
    }

    private static func url(of address: SocketAddress?) -> String {
        if let path = address?.pathname, !path.isEmpty { return "unix:\(path)" }
        let host = address?.ipAddress ?? "localhost"
        return "http://\(host.contains(":") ? "[\(host)]" : host):\(address?.port ?? 0)"
    }

    /// Closes the listening socket, and each connection after its next answer, which says so. A connection without a
    /// request is kept for a grace, because its client may be sending one right now.
    ///
    /// - Parameters:
    ///   - grace: How long a connection without a request is kept.
    ///   - deadline: When the rest is closed; `nil` for never.
    func beginDraining(grace: Duration = .seconds(1), until deadline: MonotonicInstant?) async {
        await closeListener()
        let connections = connections
        try? await connections.eventLoop.submit {
            connections.value.beginDraining(grace: grace, until: deadline)
        }.get()
    }

    /// Waits until the server that drains has no connection left.
    func drained() async {
        let connections = connections
        try? await connections.eventLoop.flatSubmit { connections.value.whenGone() }.get()
    }

    /// Closes the listening socket and all connections at once.
    func closeConnections() async {
        await closeListener()
        let connections = connections
        try? await connections.eventLoop.submit { connections.value.closeAll() }.get()
        await drained()
    }

    private func closeListener() async {
        ownSocket?.unlinkFile()
        // One that is closed already is as good.
        try? await listener.close().get()
    }

    /// Closes the connections and ends the event loop, which no request may need any longer.
    func close() async throws {
        await closeConnections()
        try await group.shutdownGracefully()
    }
}

/// The connections of one HTTP server. It belongs to the server's event loop.
final class ConnectionTable {
    /// Whether each connection is closed after its next answer.
    private(set) var isDraining = false

    private let eventLoop: any NIOCore.EventLoop
    private var connections: [ObjectIdentifier: RequestHandler] = [:]
    private var timers: [Scheduled<Void>] = []
    private var waiters: [EventLoopPromise<Void>] = []

    init(eventLoop: any NIOCore.EventLoop) {
        self.eventLoop = eventLoop
    }

    func add(_ connection: RequestHandler) {
        connections[ObjectIdentifier(connection)] = connection
    }

    func remove(_ connection: RequestHandler) {
        connections[ObjectIdentifier(connection)] = nil
        finishIfEmpty()
    }

    /// From now on each connection is closed after its next answer. One without a request is kept for a grace,
    /// because its client may be sending one right now.
    func beginDraining(grace: Duration, until deadline: MonotonicInstant?) {
        guard !isDraining else { return }
        isDraining = true
        let left = deadline.map { MonotonicInstant.now.duration(to: $0) }
        schedule(in: left.map { min(grace, $0) } ?? grace) { $0.closeIfWaiting() }
        if let left { schedule(in: left) { $0.close() } }
        finishIfEmpty()
    }

    /// Closes every connection, whatever it is doing.
    func closeAll() {
        isDraining = true
        for connection in Array(connections.values) { connection.close() }
        finishIfEmpty()
    }

    /// Done when the server drains, or is closed, and the last connection is gone.
    func whenGone() -> EventLoopFuture<Void> {
        let promise = eventLoop.makePromise(of: Void.self)
        waiters.append(promise)
        finishIfEmpty()
        return promise.futureResult
    }

    private func schedule(in delay: Duration, _ action: @escaping (RequestHandler) -> Void) {
        let timer = eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(max(0, delay.clampedNanoseconds))) {
            // Closing takes a connection off the table.
            for connection in Array(self.connections.values) { action(connection) }
        }
        timers.append(timer)
    }

    private func finishIfEmpty() {
        guard isDraining, connections.isEmpty else { return }
        for timer in timers { timer.cancel() }
        timers = []
        let done = waiters
        waiters = []
        for waiter in done { waiter.succeed() }
    }
}

/// Puts the requests of one connection together, has each answered by a thread of the group, and writes the answers
/// in order: the pipeline's own handler keeps later requests back until the answer to the one before is written.
final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum Phase {
        /// No part of a request is here.
        case waiting
        case receiving
        case answering
        /// The last answer is written.
        case closing
    }

    /// What is remembered of a request for its answer.
    private struct Exchange {
        let version: HTTPVersion
        let keepsAlive: Bool
        let began: MonotonicInstant
    }

    private static let largestBody = 1 << 20
    /// How long a client may take to close its end after the last answer.
    private static let longestLinger = Duration.seconds(1)

    private let threadGroup: ThreadGroup
    private let metrics: StoreMetrics
    private let table: ConnectionTable
    private let respond: @Sendable (HTTPRequest) async -> HTTPReply
    private var context: ChannelHandlerContext?
    private var phase = Phase.waiting
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    private var isTooLarge = false
    private var linger: Scheduled<Void>?

    init(
        threadGroup: ThreadGroup, metrics: StoreMetrics, table: ConnectionTable,
        respond: @escaping @Sendable (HTTPRequest) async -> HTTPReply
    ) {
        self.threadGroup = threadGroup
        self.metrics = metrics
        self.table = table
        self.respond = respond
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        table.add(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        linger?.cancel()
        table.remove(self)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // The client was told, or is just being told, that the connection is closed.
        if phase == .closing { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            phase = .receiving
            self.head = head
            body = []
            isTooLarge = false
        case .body(let buffer):
            if body.count + buffer.readableBytes > Self.largestBody {
                isTooLarge = true
                body = []
            }
            if !isTooLarge { body.append(contentsOf: buffer.readableBytesView) }
        case .end:
            phase = .answering
            answer(context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    /// Closes the connection unless a request has begun.
    func closeIfWaiting() {
        if phase == .waiting { close() }
    }

    /// Closes the connection.
    func close() {
        context?.close(promise: nil)
    }

    private func answer(_ context: ChannelHandlerContext) {
        guard let head else { return }
        let request = HTTPRequest(method: head.method.rawValue, uri: head.uri, body: body)
        self.head = nil
        body = []
        let exchange = Exchange(
            version: head.version, keepsAlive: head.isKeepAlive && !isTooLarge, began: MonotonicInstant.now)
        if isTooLarge {
            return write(HTTPReply(route: "other", status: 413, text: "the body must be 1 MiB or less\n"), exchange)
        }
        let eventLoop = context.eventLoop
        let handler = NIOLoopBound(self, eventLoop: eventLoop)
        do {
            try threadGroup.tryAddThread(name: "request") { [respond] in
                let reply = await respond(request)
                eventLoop.execute { handler.value.write(reply, exchange) }
            }
        } catch {
            write(HTTPReply(route: "other", status: 503, text: "\(error)\n"), exchange)
        }
    }

    private func write(_ reply: HTTPReply, _ exchange: Exchange) {
        metrics.requests.labels(reply.route, "\(reply.status)").increment()
        metrics.duration.labels(reply.route).observe(exchange.began.duration(to: .now))
        // The client may be gone meanwhile.
        guard let context else { return }
        let keepsAlive = exchange.keepsAlive && !table.isDraining
        var headers = HTTPHeaders()
        if reply.status != 204 {
            headers.add(name: "Content-Type", value: reply.contentType)
            headers.add(name: "Content-Length", value: "\(reply.body.count)")
        }
        if !keepsAlive { headers.add(name: "Connection", value: "close") }
        // Before the end is written, which delivers the next request when one is here.
        phase = keepsAlive ? .waiting : .closing
        let head = HTTPResponseHead(
            version: exchange.version, status: HTTPResponseStatus(statusCode: reply.status), headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !reply.body.isEmpty {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: reply.body)))), promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        if !keepsAlive { closeAfterAnswer(context) }
    }

    /// Ends the sending side, after what is still to be written, and leaves the rest to the client for a while: to
    /// close with something unread would reset the connection, and the client might lose the answer.
    private func closeAfterAnswer(_ context: ChannelHandlerContext) {
        context.close(mode: .output, promise: nil)
        linger = context.eventLoop.assumeIsolated().scheduleTask(
            in: .nanoseconds(Self.longestLinger.clampedNanoseconds)
        ) { self.close() }
    }
}

/// A whole answer.
struct HTTPReply: Sendable {
    /// The pattern of the path, which unlike the path itself has few values.
    let route: String
    let status: Int
    let contentType: String
    let body: [UInt8]

    init(route: String, status: Int = 200, body: [UInt8]) {
        self.route = route
        self.status = status
        contentType = "application/octet-stream"
        self.body = body
    }

    init(route: String, status: Int = 200, text: String) {
        self.route = route
        self.status = status
        contentType = "text/plain; charset=utf-8"
        body = Array(text.utf8)
    }
}

/// A whole request.
struct HTTPRequest: Sendable {
    let method: String
    let path: String
    let query: [String: String]
    let body: [UInt8]

    init(method: String, uri: String, body: [UInt8]) {
        self.method = method
        self.body = body
        let parts = uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = String(parts.first ?? "/")
        var query: [String: String] = [:]
        for pair in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            let halves = pair.split(separator: "=", maxSplits: 1)
            query[String(halves[0])] = halves.count > 1 ? String(halves[1]) : ""
        }
        self.query = query
    }

    /// A whole number of the query.
    func integer(_ name: String, in range: ClosedRange<Int>) throws(BadParameter) -> Int {
        guard let text = query[name], let value = Int(text), range.contains(value) else {
            throw BadParameter(name: name, wanted: "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// A number of the query.
    func number(_ name: String, in range: ClosedRange<Int>) throws(BadParameter) -> Double {
        guard let text = query[name], let value = Double(text),
            (Double(range.lowerBound)...Double(range.upperBound)).contains(value)
        else { throw BadParameter(name: name, wanted: "from \(range.lowerBound) to \(range.upperBound)") }
        return value
    }
}

/// Connections cannot be taken from the socket that the supervisor has handed over.
struct InheritedSocketError: Error, CustomStringConvertible {
    let descriptor: Int32
    let reason: String

    var description: String {
        "cannot accept connections on the inherited descriptor \(descriptor) (\(reason)): it must be an open, "
            + "listening stream socket"
    }
}
