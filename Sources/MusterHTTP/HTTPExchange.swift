// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc
import MusterPlatform

/// What takes a request's body and is told how the exchange goes on. Called on the server's thread only.
package protocol HTTPExchangeDelegate: AnyObject {
    /// Takes a part of the body. Returns whether the next one may come; if not, ``HTTPExchange/readBody()`` asks for it.
    func received(_ bytes: UnsafeRawBufferPointer) -> Bool
    /// The body is complete.
    func receivedAll()
    /// The body will not be complete, or the answer not be sent as it is meant.
    func failed(_ failure: HTTPExchange.Failure)
    /// The exchange is over: nothing is called any more. `status` is that of the answer that was sent, `nil` if none was.
    func ended(status: Int?, isComplete: Bool)
}

/// A part of a response's body. Called on the server's thread only.
package protocol HTTPBodySource: AnyObject, Sendable {
    /// Fills a buffer.
    func read(into buffer: UnsafeMutableRawBufferPointer) -> HTTPBodyPart
}

/// What a ``HTTPBodySource`` has.
package enum HTTPBodyPart {
    case bytes(Int)
    /// Nothing yet: ``HTTPExchange/continueResponse()`` says when.
    case wait
    case end
    /// The rest will not come: the connection ends, so that the client does not take the part for the whole.
    case failed
}

/// What a request is answered with.
package struct HTTPAnswer: Sendable {
    package enum Body: Sendable {
        case bytes([UInt8])
        case text(String)
        /// Of a known size, or in chunks.
        case source(any HTTPBodySource, size: UInt64?)
        /// Part of a file. The descriptor is closed when it has been sent.
        case file(descriptor: Int32, offset: UInt64, size: UInt64)
    }

    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: Body
    /// Whether the connection ends with it.
    package var closesConnection: Bool

    package init(
        status: Int, headers: [(name: String, value: String)] = [], body: Body = .bytes([]),
        closesConnection: Bool = false
    ) {
        self.status = status
        self.headers = headers
        self.body = body
        self.closesConnection = closesConnection
    }

    /// A few words as the body.
    package init(status: Int, text: String) {
        self.init(
            status: status, headers: [("Content-Type", "text/plain; charset=utf-8")], body: .text(text))
    }

    static let tooLate = HTTPAnswer(status: 503, text: "the answer takes too long\n")
    static let requestTimeout = HTTPAnswer(status: 408, text: "the request takes too long\n")

    /// Gives back what an answer that is not sent holds.
    package func discard() {
        if case .file(let descriptor, _, _) = body { close(descriptor) }
    }

    /// The whole response, for a connection that ends with it; `nil` if the body is not at hand.
    func bytes(isHead: Bool) -> [UInt8]? {
        var text = "HTTP/1.1 \(status) \r\n"
        for (name, value) in headers { text += "\(name): \(value)\r\n" }
        text += "Connection: close\r\n"
        switch body {
        case .bytes(let bytes):
            return Array((text + "Content-Length: \(bytes.count)\r\n\r\n").utf8) + (isHead ? [] : bytes)
        case .text(let body):
            return Array((text + "Content-Length: \(body.utf8.count)\r\n\r\n" + (isHead ? "" : body)).utf8)
        case .source, .file: return isHead ? Array((text + "\r\n").utf8) : nil
        }
    }

    /// Whether the library would send the end of a body in response to HEAD, as it does (0.9.75) if it has no length.
    func isMisunderstood(isHead: Bool) -> Bool {
        if case .source(_, nil) = body { isHead } else { false }
    }
}

/// A request that is answered later, and whose body is read as it comes.
///
/// Its request waits in the library's hands, suspended, whenever the server's side has to act: until the body is asked
/// for, until there is room for more of it, until there is an answer, until there is more of the answer. An answer that
/// comes before the body is complete goes out at once and ends the connection if the client is still waiting for leave to
/// send it, or if there is much of it; otherwise the rest is thrown away first. A body that is too long is answered past
/// the library, and the rest of it thrown away until the client notices.
///
/// Sound as `@unchecked Sendable`: everything is touched on the server's thread only; others merely carry it back there.
package final class HTTPExchange: @unchecked Sendable {
    /// Why an exchange does not go on as it should.
    package enum Failure: Error, Hashable, Sendable {
        /// The client has closed the connection, or broken off its body.
        case clientGone
        case bodyTooLarge
        /// No part of the body has come for too long.
        case bodyTimeout
        /// There was no answer for too long: the server has given one.
        case handlerTimeout
        /// Fields follow the body.
        case trailers
    }

    enum Phase {
        /// The body has not been asked for.
        case head
        case receiving
        /// What comes of the body is thrown away, and the answer sent afterwards.
        case discarding
        /// The request is complete.
        case complete
        /// The body has become too long.
        case overflowing
        /// The answer is out, and what comes is thrown away until the client has closed its side.
        case lingering
        case answered
        case over
    }

    /// How much of a body is thrown away for the sake of its connection.
    static let longestDiscard: UInt64 = 256 << 10

    private unowned let transport: HTTPTransport
    let connection: HTTPConnection
    let delegate: any HTTPExchangeDelegate
    let bodyLimit: UInt64
    let isHead: Bool
    var phase = Phase.head
    var isSuspended = false
    /// Whether the body has been asked for.
    var wantsBody = false
    /// Whether it is to end without an answer.
    var isAborted = false
    var answer: HTTPAnswer?
    /// What the client has announced of its body; `nil` for one in chunks.
    var announced: UInt64?
    /// Whether the client waits for a word before it sends the body.
    var expectsContinue = false
    var receivedBytes: UInt64 = 0
    var status: Int?

    package init(
        _ request: TransportRequest, on transport: HTTPTransport, bodyLimit: UInt64, delegate: any HTTPExchangeDelegate
    ) {
        self.transport = transport
        self.delegate = delegate
        self.bodyLimit = bodyLimit
        connection = request.connection
        isHead = request.isHead
        guard request.hasBody else {
            phase = .complete
            return
        }
        announced = request.contentLength
        expectsContinue = request.header("Expect") != nil
    }

    /// Whether an answer that comes early waits for the rest of the body.
    var canDiscard: Bool { !expectsContinue && (announced ?? 0) <= Self.longestDiscard }

    /// Whether anything is still to come of the body.
    package var isComplete: Bool {
        switch phase {
        case .head, .receiving, .discarding, .overflowing, .lingering: false
        case .complete, .answered, .over: true
        }
    }

    /// Asks for the next part of the body.
    package func readBody() { transport.readBody(of: self) }

    /// Answers, unless the exchange is over or has an answer.
    package func respond(_ answer: HTTPAnswer) { transport.respond(answer, to: self) }

    /// Asks for more of the body's source.
    package func continueResponse() { transport.continueResponse(of: self) }
}

/// A body's source as the library calls it.
final class HTTPBodyReader {
    private let source: any HTTPBodySource
    private let exchange: HTTPExchange
    private unowned let transport: HTTPTransport

    init(_ source: any HTTPBodySource, _ exchange: HTTPExchange, _ transport: HTTPTransport) {
        self.source = source
        self.exchange = exchange
        self.transport = transport
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        guard !exchange.isAborted else { return cmicrohttpd_end_with_error }
        switch source.read(into: buffer) {
        case .bytes(let count):
            transport.sending(exchange)
            return count
        case .wait:
            transport.awaitMore(exchange)
            return 0
        case .end: return cmicrohttpd_end_of_stream
        case .failed: return cmicrohttpd_end_with_error
        }
    }
}
