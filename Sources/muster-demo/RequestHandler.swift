// SPDX-License-Identifier: Apache-2.0

import Muster
import NIOCore
import NIOHTTP1

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
