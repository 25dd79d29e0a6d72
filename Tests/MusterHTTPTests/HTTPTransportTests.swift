// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport
import Synchronization
import Testing

@testable import MusterHTTP

@Suite("HTTP server")
struct HTTPTransportTests {
    @Test("A handler sees path, arguments and headers, and answers with status, headers and body")
    func answer() throws {
        let bench = try Bench()
        let text = try bench.exchange("GET /a%20b?x=1&y&x=%26 HTTP/1.1\r\nHost: x\r\nX-Name: value\r\n")
        #expect(text.hasPrefix("HTTP/1.1 201 "))
        #expect(text.contains("\r\nX-Own: yes\r\n"))
        #expect(text.hasSuffix("\r\n\r\n/a b [x=1 y x=&] value true"))
    }

    @Test("A request with a body is handed over before its body, and its response ends the connection")
    func body() throws {
        let bench = try Bench()
        let text = try bench.exchange("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n", close: false)
        #expect(text.contains("\r\nConnection: close\r\n"))
        #expect(text.hasSuffix("a body"))
    }

    @Test("A suspended request is answered when it is resumed, again and again if it is suspended again")
    func suspension() throws {
        let bench = try Bench()
        #expect(try bench.exchange("GET /wait HTTP/1.1\r\nHost: x\r\n").hasSuffix("/wait after 2"))
        #expect(bench.cancelled.load(ordering: .relaxed) == 0)
    }

    @Test("Requests that are suspended when the server stops are cancelled and refused")
    func stopping() throws {
        let bench = try Bench()
        let client = try bench.connect()
        defer { close(client) }
        bench.send("GET /forever HTTP/1.1\r\nHost: x\r\n\r\n", to: client)
        bench.suspended.pass()
        bench.stop()
        #expect(bench.rest(of: client).hasSuffix("stopping"))
        #expect(bench.cancelled.load(ordering: .relaxed) == 1)
    }

    @Test("A bulk response counts until it has been read, and its body is used again")
    func bulk() throws {
        let bench = try Bench()
        for _ in 0..<3 { #expect(try bench.exchange("GET /bulk HTTP/1.1\r\nHost: x\r\n").hasSuffix("0 before")) }
        #expect(bench.bodies.load(ordering: .relaxed) == 1)
    }

    @Test("A connection that stays silent is closed, and the handler hears why")
    func idle() throws {
        let bench = try Bench(idleTimeout: .milliseconds(50))
        let client = try bench.connect()
        defer { close(client) }
        #expect(bench.rest(of: client) == "")
        bench.idle.pass()
    }
}

/// A server whose handler answers by the path.
///
/// Sound as `@unchecked Sendable`: the handler is called on the server's thread only, and counts with atomics.
private final class Bench: HTTPHandler, @unchecked Sendable {
    private let server: HTTPTransport
    private let address: ListenAddress
    private let pool = HTTPBodyPool()
    private var seen: Set<ObjectIdentifier> = []
    let suspended = Gate()
    let cancelled = Atomic(0)
    let bodies = Atomic(0)
    let idle = Gate()

    init(idleTimeout: Duration = .seconds(30)) throws {
        let socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "address")
        address = socket.address
        server = try HTTPTransport(
            socket: socket,
            limits: HTTPTransport.Limits(
                connections: 10, connectionsPerAddress: 0, reservedConnections: 0, requestSize: 8192,
                handshakeTimeout: .seconds(10), idleTimeout: idleTimeout, responseTimeout: .seconds(30)),
            threadName: "http-test")
        try server.start(Weak(self)) {}
    }

    deinit {
        server.loop.submit { [server] in server.stop() }
    }

    func stop() {
        server.loop.submit { [server] in server.stop() }
    }

    /// Lets the server keep its handler without keeping the bench.
    private final class Weak: HTTPHandler {
        private weak var bench: Bench?

        init(_ bench: Bench) { self.bench = bench }

        func willAccept() {}
        func respond(to request: TransportRequest) -> HTTPReply { bench?.respond(to: request) ?? .disconnect }
        func respond(stopping request: TransportRequest) -> HTTPReply {
            bench?.respond(stopping: request) ?? .disconnect
        }
        func didRefuse(_ status: Int) {}
        func didFinishPass() {}
        func didChangeConnections(_ count: Int) {}
        func didClose(_ reason: HTTPTransport.ClosingReason) { bench?.didClose(reason) }
    }

    func willAccept() {}
    func didRefuse(_ status: Int) {}
    func didFinishPass() {}

    func didChangeConnections(_ count: Int) {}

    func didClose(_ reason: HTTPTransport.ClosingReason) {
        if reason == .idle { idle.open() }
    }

    func respond(stopping request: TransportRequest) -> HTTPReply { text("stopping") }

    func respond(to request: TransportRequest) -> HTTPReply {
        if request.hasBody { return text("a body") }
        switch request.path {
        case "/wait":
            wait(request, times: 1)
            return .suspended
        case "/forever":
            server.suspend(request).onCancel = { self.cancelled.wrappingAdd(1, ordering: .relaxed) }
            suspended.open()
            return .suspended
        case "/bulk":
            let body = pool.makeBody()
            if seen.insert(ObjectIdentifier(body)).inserted { bodies.wrappingAdd(1, ordering: .relaxed) }
            Array("\(server.bulkResponseCount) before".utf8).withUnsafeBufferPointer { body.bytes.replace(with: $0) }
            return TransportResponse(status: 200, headers: [], body: body).map { .response($0, isBulk: true) }
                ?? .disconnect
        default:
            let arguments = request.arguments.map { $0.name + ($0.value.map { "=" + $0 } ?? "") }
            let name = request.header("X-Name").map { String(cString: $0) } ?? ""
            return text("\(request.path) [\(arguments.joined(separator: " "))] \(name) \(request.isRead)", status: 201)
        }
    }

    private func wait(_ request: TransportRequest, times: Int) {
        let suspension = server.suspend(request)
        suspension.onCancel = { self.cancelled.wrappingAdd(1, ordering: .relaxed) }
        server.loop.submit { [self] in
            server.resume([suspension]) { [self] request in
                guard times < 2 else { return text("\(request.path) after \(times)") }
                wait(request, times: times + 1)
                return .suspended
            }
        }
    }

    private func text(_ text: String, status: Int = 200) -> HTTPReply {
        TransportResponse(status: status, headers: [("X-Own", "yes")], body: Array(text.utf8)).map { .response($0) }
            ?? .disconnect
    }

    // MARK: The client

    func exchange(_ head: String, close isClosing: Bool = true) throws -> String {
        let client = try connect()
        defer { close(client) }
        send(head + (isClosing ? "Connection: close\r\n" : "") + "\r\n", to: client)
        return rest(of: client)
    }

    func connect() throws -> Int32 {
        guard case .tcp(_, let port) = address else { throw SystemError("connect", code: EINVAL) }
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = port.bigEndian
        target.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let code = withUnsafePointer(to: &target) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(client, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else { throw SystemError("connect") }
        return client
    }

    func send(_ text: String, to client: Int32) {
        let bytes = Array(text.utf8)
        _ = Glibc.send(client, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    func rest(of client: Int32) -> String {
        var received: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(client, &buffer, buffer.count, 0)
            guard count > 0 else { return String(decoding: received, as: UTF8.self) }
            received += buffer.prefix(count)
        }
    }
}
