// SPDX-License-Identifier: Apache-2.0

import CGnuTLS
import CMicrohttpd
import Glibc
package import MusterPlatform

/// A request whose headers have arrived. It is the library's: valid during the call that it is handed to.
package struct TransportRequest {
    let pointer: OpaquePointer
    fileprivate let pathBytes: UnsafePointer<CChar>
    fileprivate let method: UnsafePointer<CChar>
    private let version: UnsafePointer<CChar>
    let mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    /// Where it came from.
    package let connection: HTTPConnection
    /// Whether a body follows.
    package var hasBody: Bool { connection.framing.announcesBody }

    init(
        pointer: OpaquePointer, pathBytes: UnsafePointer<CChar>, method: UnsafePointer<CChar>,
        version: UnsafePointer<CChar>, mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>, connection: HTTPConnection
    ) {
        self.pointer = pointer
        self.pathBytes = pathBytes
        self.method = method
        self.version = version
        self.mark = mark
        self.connection = connection
    }

    /// The path, unescaped, without the query; also that of a target in absolute form (RFC 9112, 3.2.2).
    package var path: String {
        let target = String(cString: pathBytes)
        guard pathBytes.pointee != 0x2F, let authority = target.firstRange(of: "://") else { return target }
        let rest = target[authority.upperBound...]
        return rest.firstIndex(of: "/").map { String(rest[$0...]) } ?? "/"
    }

    /// Whether it has to be answered with 400 and the end of its connection: it could mean something else to somebody in
    /// between (RFC 9112, 3.2, 6.3, 11.2).
    package var isMalformed: Bool {
        if connection.hasBadTarget { return true }
        if isRead, pathBytes.pointee != 0x2F {
            let target = String(cString: pathBytes).lowercased()
            guard target.hasPrefix("http://") || target.hasPrefix("https://") else { return true }
        }
        return connection.framing.isMalformed(version)
    }

    /// Whether the method is GET or HEAD.
    package var isRead: Bool { strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 }

    /// Whether the method is HEAD.
    package var isHead: Bool { strcmp(method, "HEAD") == 0 }

    /// Whether the body is in chunks within another coding, or in another one.
    package var hasUnknownCoding: Bool { connection.framing.hasUnknownCoding }

    /// The method's name.
    package var methodName: String { String(cString: method) }

    /// What stands between method and version, if ``HTTPTransport/Limits/keepsTargets``.
    package var target: String { connection.target }

    /// Calls a function with each header's name and value, in their order, which are valid during the call.
    package func forEachHeader(_ body: (UnsafePointer<CChar>, UnsafePointer<CChar>) -> Void) {
        let count = Int(cmicrohttpd_header_count(pointer))
        withUnsafeTemporaryAllocation(of: cmicrohttpd_header.self, capacity: count) { headers in
            guard let start = headers.baseAddress else { return }
            cmicrohttpd_headers(pointer, start)
            for header in headers { body(header.name, header.value) }
        }
    }

    /// What the client has announced of the body; `nil` for one in chunks.
    package var contentLength: UInt64? { connection.framing.length }

    /// A header's value, unread and uncopied.
    package func header(_ name: String) -> UnsafePointer<CChar>? {
        MHD_lookup_connection_value(pointer, .HEADER_KIND, name)
    }

    /// The arguments of the query, unescaped; one without `=` has no value.
    package var arguments: [(name: String, value: String?)] {
        var arguments: [(name: String, value: String?)] = []
        withUnsafeMutablePointer(to: &arguments) { list in
            cmicrohttpd_each_argument(
                pointer,
                { context, _, name, value in
                    guard let context, let name else { return .YES }
                    let list = context.assumingMemoryBound(to: [(name: String, value: String?)].self)
                    list.pointee.append((String(cString: name), value.map { String(cString: $0) }))
                    return .YES
                }, list)
        }
        return arguments
    }
}

/// What a request's headers say of where it ends and whom it is for.
struct HeaderFraming {
    private var hosts = 0
    private var lengths = 0
    private var encodings = 0
    private var hasBadName = false
    /// What the client has announced of the body; `nil` for one in chunks.
    private(set) var length: UInt64?
    private(set) var announcesBody = false
    /// Whether the body is in chunks within another coding, or in another one.
    private(set) var hasUnknownCoding = false

    init() {}

    init(_ request: TransportRequest) {
        request.forEachHeader { add($0, $1) }
    }

    private mutating func add(_ name: UnsafePointer<CChar>, _ value: UnsafePointer<CChar>) {
        switch UInt8(bitPattern: name.pointee) | 0x20 {
        case UInt8(ascii: "h"):
            if strcasecmp(name, "Host") == 0 { hosts += 1 }
        case UInt8(ascii: "c"):
            guard strcasecmp(name, "Content-Length") == 0 else { break }
            lengths += 1
            length = UInt64(String(cString: value))
            if strcmp(value, "0") != 0 { announcesBody = true }
        case UInt8(ascii: "t"):
            guard strcasecmp(name, "Transfer-Encoding") == 0 else { break }
            encodings += 1
            announcesBody = true
            if strcasecmp(value, "chunked") != 0 { hasUnknownCoding = true }
        default: break
        }
        // White space before the colon is part of the name here.
        if name.pointee == 0 || strpbrk(name, " \t\"(),/:;<=>?@[\\]{}") != nil { hasBadName = true }
    }

    func isMalformed(_ version: UnsafePointer<CChar>) -> Bool {
        hasBadName || hosts > 1 || lengths > 1 || encodings > 1 || (lengths > 0 && encodings > 0)
            || (hosts == 0 && strcmp(version, "HTTP/1.1") == 0)
            || (encodings > 0 && strcmp(version, "HTTP/1.0") == 0)
    }
}

/// The answer to a request whose `Content-Length` is none (RFC 9112, 6.3).
struct LengthRefusal {
    let status: Int

    /// - Parameter length: The header's value; `nil` is returned for a good one.
    init?(_ length: UnsafePointer<CChar>) {
        let text = String(cString: length)
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            status = 400
            return
        }
        guard UInt64(text) == nil else { return nil }
        status = 413
    }

    var bytes: [UInt8] {
        let (reason, body) =
            status == 400
            ? ("Bad Request", "bad request\n") : ("Content Too Large", "content too large\n")
        return Array(
            ("HTTP/1.1 \(status) \(reason)\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
                + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)").utf8)
    }
}

/// A request that waits for something before it is answered.
///
/// Sound as `@unchecked Sendable`: it is read and written on the server's thread only; others merely carry it back
/// there.
package final class HTTPSuspension: @unchecked Sendable {
    let connection: OpaquePointer
    var respond: ((TransportRequest) -> HTTPReply)?
    /// Called when the client has gone, or the server stops, before the request was resumed.
    package var onCancel: (() -> Void)?

    init(connection: OpaquePointer) {
        self.connection = connection
    }

    func cancel() {
        onCancel?()
        onCancel = nil
    }
}

/// A response, which may be sent any number of times. Belongs to the server's thread.
package final class TransportResponse {
    package let status: Int
    let pointer: OpaquePointer

    /// A response to an exchange, to be destroyed by the caller; `nil` for want of memory.
    static func make(_ answer: HTTPAnswer, to exchange: HTTPExchange, on transport: HTTPTransport) -> OpaquePointer? {
        let made: OpaquePointer?
        switch answer.body {
        case .bytes(let bytes): made = bytes.withUnsafeBytes(copying)
        case .text(var text): made = text.withUTF8 { copying(UnsafeRawBufferPointer($0)) }
        case .file(let descriptor, let offset, let size):
            made = MHD_create_response_from_fd_at_offset64(size, descriptor, offset)
            if made == nil { close(descriptor) }
        case .source(let source, let size):
            let reader = Unmanaged.passRetained(HTTPBodyReader(source, exchange, transport))
            made = MHD_create_response_from_callback(
                size ?? cmicrohttpd_unknown_size, blockSize,
                { context, _, buffer, room in
                    guard let context, let buffer else { return cmicrohttpd_end_with_error }
                    return Unmanaged<HTTPBodyReader>.fromOpaque(context).takeUnretainedValue()
                        .read(into: UnsafeMutableRawBufferPointer(start: buffer, count: room))
                }, reader.toOpaque(),
                { context in
                    if let context { Unmanaged<HTTPBodyReader>.fromOpaque(context).release() }
                })
            if made == nil { reader.release() }
        }
        guard let made else { return nil }
        add(answer.headers, to: made)
        if answer.closesConnection { _ = MHD_add_response_header(made, "Connection", "close") }
        return made
    }

    private static func add(_ headers: [(name: String, value: String)], to response: OpaquePointer) {
        for (name, value) in headers {
            // It fails for want of memory only, and then the response goes without.
            name.withCString { name in _ = value.withCString { MHD_add_response_header(response, name, $0) } }
        }
    }

    /// How much of a body of known size is asked for at once.
    private static let blockSize = 16 << 10

    private init?(_ status: Int, _ headers: [(name: String, value: String)], _ made: OpaquePointer?) {
        guard let made else { return nil }
        self.status = status
        pointer = made
        Self.add(headers, to: made)
    }

    /// A response with a copy of a body; `nil` for want of memory.
    package convenience init?(status: Int, headers: [(name: String, value: String)], body: [UInt8]) {
        self.init(status, headers, body.withUnsafeBytes(Self.copying))
    }

    private static func copying(_ bytes: UnsafeRawBufferPointer) -> OpaquePointer? {
        MHD_create_response_from_buffer(
            bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress), .RESPMEM_MUST_COPY)
    }

    /// A response with a body of a pool, which gets it back when it has been sent.
    package convenience init?(status: Int, headers: [(name: String, value: String)], body: HTTPBody) {
        let owner = Unmanaged.passRetained(body)
        let made = MHD_create_response_from_buffer_with_free_callback_cls(
            body.bytes.count, body.bytes.pointer,
            { context in
                guard let context else { return }
                Unmanaged<HTTPBody>.fromOpaque(context).takeRetainedValue().recycle()
            }, owner.toOpaque())
        if made == nil { owner.release() }
        self.init(status, headers, made)
    }

    deinit {
        // The library keeps what it still sends.
        MHD_destroy_response(pointer)
    }
}

/// Bodies that are used again.
package final class HTTPBodyPool {
    private static let capacity = 4
    private var spares: [HTTPBody] = []

    package init() {}

    package func makeBody() -> HTTPBody {
        let body = spares.popLast() ?? HTTPBody()
        body.pool = self
        return body
    }

    fileprivate func add(_ body: HTTPBody) {
        if spares.count < Self.capacity { spares.append(body) }
    }
}

/// The bytes of one response's body, which must not change while the library sends them.
///
/// Belongs to the server's thread.
package final class HTTPBody {
    package let bytes = GrowingBytes(capacity: 16 << 10)
    /// While it is in use.
    fileprivate var pool: HTTPBodyPool?

    fileprivate func recycle() {
        let pool = pool
        self.pool = nil
        pool?.add(self)
    }
}

/// Connections in the same phase, the one that entered it first at the head: the order of their deadlines, as all
/// get the same time.
final class HTTPConnectionList {
    private(set) var head: HTTPConnection?
    private unowned(unsafe) var tail: HTTPConnection?

    /// Moves a connection here.
    func append(_ connection: HTTPConnection, at now: Int64) {
        connection.leave()
        connection.since = now
        connection.list = self
        connection.previous = tail
        if let tail { tail.next = connection } else { head = connection }
        tail = connection
    }

    /// The connection that has been here for longest, of one address or of all.
    func first(of address: ClientAddress?) -> HTTPConnection? {
        var connection = head
        while let address, let present = connection, present.address != address { connection = present.next }
        return connection
    }

    /// Calls a function with each connection, which may leave the list.
    func forEach(_ body: (HTTPConnection) -> Void) {
        var connection = head
        while let present = connection {
            connection = present.next
            body(present)
        }
    }

    fileprivate func remove(_ connection: HTTPConnection) {
        let next = connection.next
        let previous = connection.previous
        if let previous { previous.next = next } else { head = next }
        if let next { next.previous = previous } else { tail = previous }
        connection.next = nil
        connection.previous = nil
        connection.list = nil
    }
}

/// An IP address.
struct ClientAddress: Hashable {
    private let high: UInt64
    private let low: UInt64

    /// `nil` for an address of another family, as those of Unix sockets.
    init?(_ address: UnsafePointer<sockaddr>) {
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            high = 0
            low = address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { UInt64($0.pointee.sin_addr.s_addr) }
        case AF_INET6:
            (high, low) = address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { pointer in
                withUnsafeBytes(of: pointer.pointee.sin6_addr) { bytes in
                    (bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                }
            }
        default: return nil
        }
    }
}

/// A client's connection: whether it is silent or being answered, and since when.
///
/// Sound as `@unchecked Sendable`: it is read and written on the server's thread only; watches merely carry it.
package final class HTTPConnection: @unchecked Sendable {
    /// Where an unfinished TLS handshake is.
    enum Handshake {
        /// There is none.
        case none
        /// Suspended, until the client has sent, or read, more.
        case waiting(EventLoop.Watch)
        /// Suspended, in the queue for its next step.
        case ready
        /// In the library's hands for this pass.
        case stepping
    }

    let pointer: OpaquePointer
    let descriptor: Int32
    /// Where it comes from; `nil` for a Unix socket.
    let address: ClientAddress?
    /// When the present phase began, in monotonic nanoseconds.
    fileprivate(set) var since: Int64 = 0
    fileprivate(set) var list: HTTPConnectionList?
    fileprivate(set) var next: HTTPConnection?
    fileprivate unowned(unsafe) var previous: HTTPConnection?
    /// Whether it is one of those that are kept for what must not be kept out.
    package let isReserved: Bool
    /// Whether a bulk response is being sent on it.
    var isBulk = false
    /// Whether ``hangUp()`` has been called.
    private(set) var isEnding = false
    var handshake = Handshake.none
    var hasFinishedHandshake = false
    var isHandshaking: Bool { if case .none = handshake { false } else { true } }
    /// GnuTLS' part of it, while the library has it.
    var session: OpaquePointer?
    /// What its TLS works with; `nil` for a connection without.
    var tls: TLSCredentials?
    /// The request that is answered later, if the present one is.
    var exchange: HTTPExchange?
    /// The present request's target.
    var target = ""
    /// What the present request's headers say of where it ends.
    var framing = HeaderFraming()
    /// Whether it is about to be asked whether the client has ended it.
    var mayHaveEnded = false
    /// Whether a request has begun whose headers are not all here.
    var awaitsHeaders = false
    /// Whether no path is to be made of the present request's target.
    var hasBadTarget = false
    /// What the handshake has found out about the client.
    package internal(set) var certificate = ClientCertificate.missing
    /// Whether the handshake succeeds whatever the client's certificate, so that each request is to be checked.
    var isLenient = false

    init(pointer: OpaquePointer, descriptor: Int32, address: ClientAddress?, isReserved: Bool) {
        self.pointer = pointer
        self.descriptor = descriptor
        self.address = address
        self.isReserved = isReserved
    }

    /// Ends the connection: the library sees a hang-up and closes it.
    ///
    /// The descriptor is the library's, and open as long as this object is in a list.
    func hangUp() {
        isEnding = true
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    /// Sends bytes past the library.
    func send(_ bytes: [UInt8]) {
        if let session {
            _ = gnutls_record_send(session, bytes, bytes.count)
        } else {
            _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        }
    }

    /// Whether bytes have come that the library has not read.
    var hasUnreadBytes: Bool {
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) > 0
    }

    /// Ends the stream to the client, who may still send.
    func endSending() {
        if let session { _ = gnutls_bye(session, GNUTLS_SHUT_WR) }
        shutdown(descriptor, Int32(SHUT_WR))
    }

    /// Wakes the library if the client has ended its side of the stream.
    ///
    /// The library watches for changes, and takes a read that fills less than its buffer for the last one, so that it
    /// does not see an end that has come before that read. What it still has to answer is answered.
    func noticeEnd() {
        var byte: UInt8 = 0
        if recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) == 0 {
            shutdown(descriptor, Int32(SHUT_RD))
        }
    }

    /// Leaves the list it is in.
    func leave() {
        list?.remove(self)
    }
}
