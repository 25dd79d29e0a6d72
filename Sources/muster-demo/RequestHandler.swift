// SPDX-License-Identifier: Apache-2.0

import Muster
import NIOCore
import NIOHTTP1

/// Puts the requests of one connection together, has each answered by a thread of the group, and writes the answers
/// in order: the pipeline's own handler keeps later requests back until the answer to the one before is written.
final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private static let largestBody = 1 << 20

    private let threadGroup: ThreadGroup
    private let metrics: StoreMetrics
    private let respond: @Sendable (HTTPRequest) async -> HTTPReply
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    private var isTooLarge = false

    init(
        threadGroup: ThreadGroup, metrics: StoreMetrics,
        respond: @escaping @Sendable (HTTPRequest) async -> HTTPReply
    ) {
        self.threadGroup = threadGroup
        self.metrics = metrics
        self.respond = respond
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
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
            answer(context)
        }
    }

    private func answer(_ context: ChannelHandlerContext) {
        guard let head else { return }
        let request = HTTPRequest(method: head.method.rawValue, uri: head.uri, body: body)
        self.head = nil
        body = []
        let keepsAlive = head.isKeepAlive
        let version = head.version
        let channel = context.channel
        let began = MonotonicInstant.now
        if isTooLarge {
            let reply = HTTPReply(route: "other", status: 413, text: "the body must be 1 MiB or less\n")
            return write(reply, to: channel, version: version, keepsAlive: false, began: began)
        }
        do {
            // `self` belongs to the connection's event loop and stays there.
            let write = writer
            try threadGroup.tryAddThread(name: "request") { [respond] in
                write(await respond(request), channel, version, keepsAlive, began)
            }
        } catch {
            let reply = HTTPReply(route: "other", status: 503, text: "\(error)\n")
            write(reply, to: channel, version: version, keepsAlive: keepsAlive, began: began)
        }
    }

    private func write(
        _ reply: HTTPReply, to channel: any Channel, version: HTTPVersion, keepsAlive: Bool, began: MonotonicInstant
    ) {
        writer(reply, channel, version, keepsAlive, began)
    }

    private var writer: @Sendable (HTTPReply, any Channel, HTTPVersion, Bool, MonotonicInstant) -> Void {
        { [metrics] reply, channel, version, keepsAlive, began in
            metrics.requests.labels(reply.route, "\(reply.status)").increment()
            metrics.duration.labels(reply.route).observe(began.duration(to: .now))
            var headers = HTTPHeaders()
            if reply.status != 204 {
                headers.add(name: "Content-Type", value: reply.contentType)
                headers.add(name: "Content-Length", value: "\(reply.body.count)")
            }
            if !keepsAlive { headers.add(name: "Connection", value: "close") }
            let head = HTTPResponseHead(
                version: version, status: HTTPResponseStatus(statusCode: reply.status), headers: headers)
            channel.write(HTTPServerResponsePart.head(head), promise: nil)
            if !reply.body.isEmpty {
                channel.write(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: reply.body))), promise: nil)
            }
            let written = channel.writeAndFlush(HTTPServerResponsePart.end(nil))
            if !keepsAlive { written.whenComplete { _ in channel.close(promise: nil) } }
        }
    }
}
