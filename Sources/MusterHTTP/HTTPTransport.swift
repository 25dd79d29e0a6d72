// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc
package import MusterPlatform
import Synchronization

/// Answers the requests of an ``HTTPTransport``. Called on the server's loop only.
package protocol HTTPHandler: AnyObject {
    /// Connections are about to be accepted: the time to renew the server's TLS.
    func willAccept()
    /// Answers a request whose headers have arrived. A response to a request with a body ends its connection, as the
    /// body is not read.
    func respond(to request: TransportRequest) -> HTTPReply
    /// Answers a request that was suspended when the server was stopped.
    func respond(stopping request: TransportRequest) -> HTTPReply
    /// A request that the library would have refused in a way of its own has been answered with a status.
    func didRefuse(_ status: Int)
    /// The requests that had arrived together have been answered.
    func didFinishPass()
    /// The number of connections has changed.
    func didChangeConnections(_ count: Int)
    /// The server has closed a connection because of a limit.
    func didClose(_ reason: HTTPTransport.ClosingReason)
}

/// What becomes of a request.
package enum HTTPReply {
    /// The connection's next bytes. A bulk response counts in ``HTTPTransport/bulkResponseCount`` until the client has
    /// read it.
    case response(TransportResponse, isBulk: Bool = false)
    /// ``HTTPTransport/suspend(_:)`` was called; the response follows.
    case suspended
    /// The body, if there is one, is read, and the response follows.
    case exchange(HTTPExchange)
    /// The connection ends without a response.
    case disconnect
}

/// Why the server could not be started.
package enum HTTPTransportError: Error {
    /// libmicrohttpd is missing, or too old.
    case noLibrary(reason: String)
    /// The system gives no descriptor, thread or memory.
    case noResources(SystemError)
}

/// An HTTP/1.1 server: libmicrohttpd, driven by an event loop.
///
/// Sound as `@unchecked Sendable`: after its start everything is touched on the loop's thread only.
package final class HTTPTransport: @unchecked Sendable {
    /// What a client can use up.
    package struct Limits {
        /// With as many connections the one that has been silent for longest makes room for a new one.
        package var connections: Int
        /// How many of them one IP address may have; 0 for no such limit. With as many, the one of these that has been
        /// silent for longest makes room for a new one.
        package var connectionsPerAddress: Int
        /// How many more there may be when nobody makes room. ``HTTPConnection/isReserved`` tells the handler, which
        /// answers on these only what must not be kept out; they end with their first response.
        package var reservedConnections: Int
        /// The memory of one connection in bytes. The request's line and headers have to fit in.
        package var requestSize: Int
        /// How long a TLS handshake may take.
        package var handshakeTimeout: Duration
        /// How long a connection may take to send a whole request, from its start or the response before.
        package var idleTimeout: Duration
        /// How long an answer may take, until the client has read it; from one part of it to the next, if it is an
        /// exchange's.
        package var responseTimeout: Duration
        /// How long the client may take from one part of an exchange's body to the next; `nil` for no limit.
        package var bodyTimeout: Duration?
        /// How long an exchange's answer may take to begin; `nil` for no limit.
        package var handlerTimeout: Duration?
        /// Whether requests have a ``TransportRequest/target``, and their time-outs are answered with 408.
        package var keepsTargets = false
        /// Whether other processes accept at the same socket: each then takes one connection at a time, in turns.
        package var sharesSocket = false

        package init(
            connections: Int, connectionsPerAddress: Int, reservedConnections: Int, requestSize: Int,
            handshakeTimeout: Duration, idleTimeout: Duration, responseTimeout: Duration
        ) {
            self.connections = connections
            self.connectionsPerAddress = connectionsPerAddress
            self.reservedConnections = reservedConnections
            self.requestSize = requestSize
            self.handshakeTimeout = handshakeTimeout
            self.idleTimeout = idleTimeout
            self.responseTimeout = responseTimeout
        }
    }

    /// Why the server ended a connection.
    package enum ClosingReason: String, CaseIterable {
        case handshake
        case idle
        case slowRequest = "slow_request"
        case slowBody = "slow_body"
        case slowHandler = "slow_handler"
        case slowReader = "slow_reader"
        case evicted
        case refused
    }

    /// What the library keeps for a request between two calls; a pointer to an ``HTTPSuspension`` otherwise.
    private enum Mark {
        static var seen: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 1) }
        /// The request has a target that no path is to be made of.
        static var badTarget: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 2) }

        static func suspension(_ mark: UnsafeMutableRawPointer?) -> Unmanaged<HTTPSuspension>? {
            guard let mark, mark != seen, mark != badTarget else { return nil }
            return Unmanaged.fromOpaque(mark)
        }
    }

    private static let longestBatch = 64
    /// How much of a response the kernel takes at once: with its own limit (some megabytes), copying for many clients would
    /// keep others waiting.
    private static let sendBuffer: Int32 = 512 << 10
    /// How many handshakes take a step between two looks at everything else: each may cost a signature.
    private static let handshakeBatch = 4
    /// A handshake that takes longer makes room for a new connection before one that is merely silent does.
    private static let handshakePatience: Duration = .seconds(1)
    /// For how long a process that has connections leaves the next one at a shared socket to others.
    private static let restTime: Duration = .microseconds(250)
    /// How long after a response its connection is asked whether the client has ended it.
    private static let endPause: Duration = .milliseconds(5)
    /// How long to wait when the system has no descriptor for a connection.
    private static let shortagePause: Duration = .milliseconds(100)

    package let loop: EventLoop
    private let ownsLoop: Bool
    private let socket: ListeningSocket
    private let limits: Limits
    private let threadName: String
    private var handler: (any HTTPHandler)?

    /// The one without TLS and the one with it, each made when the first connection needs it.
    private var daemons: [HTTPDaemon] = []
    /// `nil` while no more connections are accepted.
    private var listening: EventLoop.Watch?
    private var isShortOfDescriptors = false
    private var isResting = false
    private var timer: (action: EventLoop.ScheduledAction, deadline: Int64)?
    private var isStopping = false
    private var isSocketClosed = false
    private var isDraining = false
    /// Called when the last connection has ended, once no more are accepted.
    private var whenDrained: [() -> Void] = []
    private var isRunning = false
    private var isPassDue = false
    /// When the present pass began, in monotonic nanoseconds.
    private var passStart: Int64 = 0

    private let handshaking = HTTPConnectionList()
    private let silent = HTTPConnectionList()
    private let answering = HTTPConnectionList()
    /// Those of exchanges: whose client sends its body, whose answer is awaited, whose answer's next part is awaited.
    private let receiving = HTTPConnectionList()
    private let handling = HTTPConnectionList()
    private let streaming = HTTPConnectionList()
    /// The handshakes whose next bytes have come, the last one on top: of many that arrive together, the oldest may
    /// have been given up.
    private var readyHandshakes: [HTTPConnection] = []
    /// Those that take a step in this pass.
    private var steppingHandshakes: [HTTPConnection] = []
    private var possiblyEnded: [HTTPConnection] = []
    private var connectionCount = 0
    private var reservedCount = 0
    /// Of those that are not reserved.
    private var connectionCounts: [ClientAddress: Int] = [:]
    /// The connection that the library has just been given.
    private var accepted: HTTPConnection?
    /// Whether it is one of the reserved ones.
    private var acceptsReserved = false
    private var suspended: [ObjectIdentifier: HTTPSuspension] = [:]
    /// How many bulk responses are being sent.
    package private(set) var bulkResponseCount = 0

    /// What new connections are encrypted with; `nil` for no TLS.
    package private(set) var tls: TLSCredentials?
    /// Whether handshakes succeed without a good client certificate, because some requests need none.
    private let admitsAllClients: Bool
    /// What each answer to an exchange has.
    package var commonHeaders: [(name: String, value: String)] = []
    private let secure = Atomic<Bool>(false)

    /// Creates a server that does not accept connections yet.
    ///
    /// - Parameter socket: Closed by the server's end; still the caller's when this throws.
    package init(
        socket: ListeningSocket, limits: Limits, tls: TLSCredentials? = nil, admitsAllClients: Bool = false,
        on sharedLoop: EventLoop? = nil, threadName: String
    ) throws(HTTPTransportError) {
        if let problem = cmicrohttpd_load() { throw .noLibrary(reason: String(cString: problem)) }
        if let sharedLoop {
            loop = sharedLoop
        } else {
            do {
                loop = try EventLoop(name: threadName, parking: .descriptors)
            } catch {
                throw .noResources(error)
            }
        }
        ownsLoop = sharedLoop == nil
        self.socket = socket
        self.limits = limits
        self.tls = tls
        self.admitsAllClients = admitsAllClients
        self.threadName = threadName
        secure.store(tls != nil, ordering: .relaxed)
    }

    /// Whether new connections are encrypted. May be called on any thread.
    package var isSecure: Bool { secure.load(ordering: .relaxed) }

    // MARK: Starting and stopping

    /// Starts to accept connections, on a thread of its own, which calls `whenDone` when it ends. The handler is kept
    /// until then.
    package func start(
        _ handler: any HTTPHandler, whenDone: @escaping @Sendable () -> Void
    ) throws(HTTPTransportError) {
        do {
            try begin(handler)
            try loop.attachThread(name: threadName, whenDone: whenDone)
        } catch let error as HTTPTransportError {
            throw error
        } catch let error as SystemError {
            tearDown()
            throw .noResources(error)
        } catch {
            tearDown()
            throw .noResources(SystemError("pthread_create", code: EAGAIN))
        }
    }

    /// Starts to accept connections on a loop that runs already. To be called on the loop's thread.
    package func start(_ handler: any HTTPHandler) throws(HTTPTransportError) {
        try begin(handler)
    }

    private func begin(_ handler: any HTTPHandler) throws(HTTPTransportError) {
        self.handler = handler
        do {
            try openDaemon()
            limitWrites()
            listening = try watchListener()
        } catch let error as DescriptorError {
            tearDown()
            guard case .cannotWatch(_, let cause) = error else { throw .noResources(SystemError("epoll", code: EBUSY)) }
            throw .noResources(cause)
        } catch let error as SystemError {
            tearDown()
            throw .noResources(error)
        } catch {
            tearDown()
            throw .noResources(SystemError("MHD_start_daemon", code: ENOMEM))
        }
    }

    private func watchListener() throws(DescriptorError) -> EventLoop.Watch {
        try loop.watch(socket.descriptor, for: limits.sharesSocket ? .sharedConnections : .readable) { [self] _ in
            acceptConnections()
        }
    }

    /// Calls a function for each exchange that is not over. To be called on the loop's thread.
    package func forEachExchange(_ body: (any HTTPExchangeDelegate) -> Void) {
        for list in [receiving, handling, streaming, answering] {
            list.forEach { if let exchange = $0.exchange { body(exchange.delegate) } }
        }
    }

    /// Accepts no more connections, answers what has come, and lets each connection end with its answer. To be called on
    /// the loop's thread.
    ///
    /// - Parameters:
    ///   - patience: When those that are silent are closed: their next request may be under way.
    ///   - whenDrained: Called when no connection is left.
    package func drain(patience: Duration, whenDrained: @escaping () -> Void) {
        guard !isStopping else { return whenDrained() }
        self.whenDrained.append(whenDrained)
        guard !isDraining else { return }
        // Others take what waits at a socket that is shared.
        if !limits.sharesSocket { acceptConnections() }
        isDraining = true
        // At once, so that new connections are refused, or get to another process, instead of waiting for nothing.
        closeSocket()
        loop.schedule(at: .now.advanced(by: patience)) { [self] in
            runPass()
            silent.forEach { if !$0.awaitsHeaders, !$0.hasUnreadBytes { end($0) } }
            handshaking.forEach(end)
            runPass()
        }
        if connectionCount == 0 { loop.submit { [self] in finishDraining() } }
    }

    private func finishDraining() {
        guard connectionCount == 0, !isStopping else { return }
        for action in whenDrained { action() }
        whenDrained = []
    }

    /// Ends everything, and the thread of a loop of its own with it. To be called on the loop's thread.
    package func stop() {
        guard !isStopping else { return }
        isStopping = true
        for suspension in suspended.values {
            suspension.cancel()
            MHD_resume_connection(suspension.connection)
        }
        suspended = [:]
        for list in [receiving, handling, streaming, answering] {
            list.forEach { if let exchange = $0.exchange { abort(exchange) } }
        }
        // The library ends the process when connections are suspended at its end.
        handshaking.forEach(proceed)
        steppingHandshakes = []
        // Sends the refusals to the clients that have been waiting.
        for daemon in daemons { MHD_run(daemon.pointer) }
        tearDown()
        for action in whenDrained { action() }
        whenDrained = []
        if ownsLoop { loop.stop() }
    }

    private func limitWrites() {
        var size = Self.sendBuffer
        // Accepted connections inherit it. Where it is refused, there is no limit.
        setsockopt(socket.descriptor, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    }

    private func tearDown() {
        if let timer { loop.cancel(timer.action) }
        timer = nil
        for daemon in daemons {
            if let watch = daemon.watch { loop.unwatch(watch) }
            daemon.watch = nil
        }
        closeSocket()
        for daemon in daemons { MHD_stop_daemon(daemon.pointer) }
        daemons = []
        handler = nil
    }

    private func closeSocket() {
        pauseAccepting()
        guard !isSocketClosed else { return }
        isSocketClosed = true
        socket.unlinkFile()
        socket.closeDescriptor()
    }

    // MARK: TLS

    /// Encrypts new connections with other credentials. Silent connections that were made under other rules for clients
    /// are closed; those with a request are closed after their response.
    package func setTLS(_ credentials: TLSCredentials?) throws {
        tls = credentials
        defer {
            for list in [handshaking, silent] {
                list.forEach { if !isCurrent($0) { end($0) } }
            }
        }
        try openDaemon()
    }

    /// Whether a connection was made under the rules for clients that hold now. A renewed certificate of the server's
    /// own changes nothing about that.
    package func isCurrent(_ connection: HTTPConnection) -> Bool {
        connection.tls === tls || connection.tls?.configuration.admission == tls?.configuration.admission
    }

    /// Makes the daemon that new connections need, unless there is one.
    @discardableResult
    private func openDaemon() throws -> HTTPDaemon {
        secure.store(tls != nil, ordering: .relaxed)
        if let daemon = daemons.first(where: { $0.isSecure == (tls != nil) }) { return daemon }
        let daemon = try HTTPDaemon(
            limits, tls?.configuration, context: Unmanaged.passUnretained(self).toOpaque())
        daemon.watch = try loop.watch(daemon.descriptor, for: .readable) { [self] _ in runPass() }
        daemons.append(daemon)
        return daemon
    }

    // MARK: The loop

    private func runPass() {
        guard !isRunning, !isStopping else { return }
        isRunning = true
        defer { isRunning = false }
        var isUnfinished = true
        for _ in 0..<4 where isUnfinished {
            passStart = MonotonicInstant.now.nanoseconds
            isUnfinished = false
            for daemon in daemons { MHD_run(daemon.pointer) }
            parkHandshakes()
            handler?.didFinishPass()
            for daemon in daemons where daemon.isUnfinished { isUnfinished = true }
        }
        if isUnfinished { runPassSoon() }
        resumeAccepting()
        expire()
    }

    /// Runs one pass for all that is asked for in the present turn of the loop.
    private func runPassSoon() {
        guard !isPassDue else { return }
        isPassDue = true
        loop.submit { [self] in
            isPassDue = false
            runPass()
        }
    }

    // MARK: Requests

    fileprivate func handle(
        _ connection: OpaquePointer, path: UnsafePointer<CChar>, method: UnsafePointer<CChar>,
        version: UnsafePointer<CChar>, body: UnsafePointer<CChar>?, bodySize: UnsafeMutablePointer<Int>,
        mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        guard let handler, let client = client(of: connection) else { return .NO }
        if let exchange = client.exchange { return proceed(exchange, body, bodySize) }
        let request = TransportRequest(
            pointer: connection, pathBytes: path, method: method, version: version, mark: mark, connection: client)
        if let pointer = Mark.suspension(mark.pointee) {
            let suspension = pointer.takeRetainedValue()
            mark.pointee = Mark.seen
            return send(suspension.respond?(request) ?? handler.respond(stopping: request), to: request)
        }
        if mark.pointee == nil || mark.pointee == Mark.badTarget {
            client.hasBadTarget = mark.pointee == Mark.badTarget
            client.awaitsHeaders = false
            // All headers are here. The library wants to be called again before it is given a response, except for one
            // that ends the connection.
            mark.pointee = Mark.seen
            answering.append(client, at: passStart)
            client.framing = HeaderFraming(request)
            return request.hasBody ? send(handler.respond(to: request), to: request) : .YES
        }
        // There is no body here; should there be one, it is thrown away.
        bodySize.pointee = 0
        return send(handler.respond(to: request), to: request)
    }

    private func send(_ reply: HTTPReply, to request: TransportRequest) -> MHD_Result {
        switch reply {
        case .disconnect: return .NO
        case .suspended: return .YES
        case .exchange(let exchange):
            guard !isStopping else { return .NO }
            request.connection.exchange = exchange
            return advance(exchange)
        case .response(let response, let isBulk):
            let result = MHD_queue_response(request.pointer, UInt32(response.status), response.pointer)
            if isBulk, result == .YES {
                bulkResponseCount += 1
                request.connection.isBulk = true
                // From here on it is up to the client.
                answering.append(request.connection, at: MonotonicInstant.now.nanoseconds)
            }
            return result
        }
    }

    fileprivate func began(_ connection: OpaquePointer, _ target: UnsafePointer<CChar>) -> UnsafeMutableRawPointer? {
        if let client = client(of: connection) {
            client.awaitsHeaders = true
            noticeEndSoon(of: client)
            if limits.keepsTargets { client.target = String(cString: target) }
        }
        // A NUL would end the path for whoever takes it for C's string: another one than that asked for.
        return strstr(target, "%00") == nil ? nil : Mark.badTarget
    }

    /// The library (0.9.75) sends its headers twice when it refuses a request for its length, and asks nobody before. It
    /// says so in its log first, so there is time to answer and to end the connection.
    fileprivate func logged(_ message: UnsafePointer<CChar>) {
        guard strstr(message, "Content-Length") != nil else { return }
        silent.forEach { connection in
            guard connection.awaitsHeaders, !connection.isEnding,
                let length = MHD_lookup_connection_value(connection.pointer, .HEADER_KIND, "Content-Length"),
                let refusal = LengthRefusal(length)
            else { return }
            connection.send(refusal.bytes)
            end(connection)
            handler?.didRefuse(refusal.status)
        }
    }

    fileprivate func completed(
        _ connection: OpaquePointer, mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>,
        reason: MHD_RequestTerminationCode
    ) {
        if let suspension = Mark.suspension(mark.pointee)?.takeRetainedValue() {
            suspended[ObjectIdentifier(suspension)] = nil
            suspension.cancel()
        }
        mark.pointee = nil
        guard let client = client(of: connection) else { return }
        endBulk(client)
        if let exchange = client.exchange {
            client.exchange = nil
            let isBroken =
                reason == .REQUEST_TERMINATED_WITH_ERROR && exchange.phase == .receiving && !exchange.isAborted
            finish(
                exchange, isComplete: reason == .REQUEST_TERMINATED_COMPLETED_OK,
                libraryStatus: isBroken ? Self.brokenBody : nil)
        }
        silent.append(client, at: passStart)
        if !isCurrent(client) || client.isReserved { return client.hangUp() }
        if reason == .REQUEST_TERMINATED_COMPLETED_OK { noticeEndSoon(of: client) }
    }

    /// The library overlooks an end of the stream that comes together with the request, or with a part of it. It is looked
    /// for a little later, on connections that are still silent then, or in the middle of a request.
    private func noticeEndSoon(of connection: HTTPConnection) {
        guard !connection.mayHaveEnded else { return }
        connection.mayHaveEnded = true
        if possiblyEnded.isEmpty {
            loop.schedule(at: .now.advanced(by: Self.endPause)) { [self] in
                let connections = possiblyEnded
                possiblyEnded = []
                for connection in connections {
                    connection.mayHaveEnded = false
                    if connection.list === silent || connection.list === receiving { connection.noticeEnd() }
                }
            }
        }
        possiblyEnded.append(connection)
    }

    /// Ends the bulk response that its client has been reading for longest, if it has been for longer than a limit.
    /// Returns whether there was one.
    package func displaceBulkResponse(olderThan limit: Duration) -> Bool {
        let latest = MonotonicInstant.now.nanoseconds - limit.clampedNanoseconds
        var connection = answering.head
        while let present = connection, present.since <= latest {
            if present.isBulk {
                endBulk(present)
                close(present, .slowReader)
                return true
            }
            connection = present.next
        }
        return false
    }

    private func endBulk(_ connection: HTTPConnection) {
        if connection.isBulk { bulkResponseCount -= 1 }
        connection.isBulk = false
    }

    /// Suspends a request until ``resume(_:with:)``; its handler then returns ``HTTPReply/suspended``.
    package func suspend(_ request: TransportRequest) -> HTTPSuspension {
        let suspension = HTTPSuspension(connection: request.pointer)
        suspended[ObjectIdentifier(suspension)] = suspension
        request.mark.pointee = Unmanaged.passRetained(suspension).toOpaque()
        MHD_suspend_connection(request.pointer)
        return suspension
    }

    /// Answers suspended requests, unless they have ended meanwhile. To be called on the loop's thread.
    package func resume(_ suspensions: [HTTPSuspension], with respond: @escaping (TransportRequest) -> HTTPReply) {
        guard !isStopping else { return }
        for suspension in suspensions where suspended.removeValue(forKey: ObjectIdentifier(suspension)) != nil {
            suspension.onCancel = nil
            suspension.respond = respond
            MHD_resume_connection(suspension.connection)
        }
        // The library takes notice of it in its next pass only.
        runPass()
    }

    // MARK: Exchanges

    /// Does what is due, as the library calls for an exchange: with a part of the body, or after a suspension.
    private func proceed(
        _ exchange: HTTPExchange, _ body: UnsafePointer<CChar>?, _ bodySize: UnsafeMutablePointer<Int>
    ) -> MHD_Result {
        exchange.isSuspended = false
        guard !exchange.isAborted else { return .NO }
        if let body, bodySize.pointee > 0 {
            take(UnsafeRawBufferPointer(start: body, count: bodySize.pointee), for: exchange)
            bodySize.pointee = 0
            return exchange.isAborted ? .NO : .YES
        }
        switch exchange.phase {
        case .receiving, .discarding:
            let isReceiving = exchange.phase == .receiving
            exchange.phase = .complete
            if isReceiving {
                if cmicrohttpd_trailer_count(exchange.connection.pointer) > 0 {
                    exchange.delegate.failed(.trailers)
                } else {
                    exchange.delegate.receivedAll()
                }
            }
            return advance(exchange)
        case .overflowing, .lingering, .over: return .NO
        case .head, .complete: return advance(exchange)
        case .answered: return .YES
        }
    }

    /// Brings an exchange that is in the library's hands to where it has to wait.
    private func advance(_ exchange: HTTPExchange) -> MHD_Result {
        if let answer = exchange.answer {
            if exchange.phase == .head, exchange.canDiscard, !answer.closesConnection {
                exchange.phase = .discarding
                receiving.append(exchange.connection, at: passStart)
                return .YES
            }
            return send(answer, to: exchange)
        }
        if exchange.phase == .head, exchange.wantsBody {
            exchange.phase = .receiving
            receiving.append(exchange.connection, at: passStart)
            noticeEndSoon(of: exchange.connection)
        } else {
            suspend(exchange, in: handling)
        }
        return .YES
    }

    private func take(_ bytes: UnsafeRawBufferPointer, for exchange: HTTPExchange) {
        exchange.receivedBytes += UInt64(bytes.count)
        switch exchange.phase {
        case .receiving:
            guard exchange.receivedBytes <= exchange.bodyLimit else {
                exchange.phase = .overflowing
                handling.append(exchange.connection, at: passStart)
                return exchange.delegate.failed(.bodyTooLarge)
            }
            if exchange.delegate.received(bytes) {
                receiving.append(exchange.connection, at: passStart)
                noticeEndSoon(of: exchange.connection)
            } else {
                suspend(exchange, in: handling)
            }
        case .discarding:
            // It keeps the time that it had.
            guard exchange.receivedBytes > HTTPExchange.longestDiscard, let answer = exchange.answer else { return }
            sendPastLibrary(answer, to: exchange)
        case .head, .complete, .overflowing, .lingering, .answered, .over: break
        }
    }

    private func suspend(_ exchange: HTTPExchange, in list: HTTPConnectionList) {
        MHD_suspend_connection(exchange.connection.pointer)
        exchange.isSuspended = true
        list.append(exchange.connection, at: MonotonicInstant.now.nanoseconds)
    }

    private func resume(_ exchange: HTTPExchange) {
        guard exchange.isSuspended else { return }
        exchange.isSuspended = false
        MHD_resume_connection(exchange.connection.pointer)
        // The library takes notice of it in its next pass only.
        if !isRunning { runPassSoon() }
    }

    private func send(_ answer: HTTPAnswer, to exchange: HTTPExchange) -> MHD_Result {
        var answer = answer
        if isDraining { answer.closesConnection = true }
        exchange.answer = nil
        if answer.isMisunderstood(isHead: exchange.isHead) {
            sendPastLibrary(answer, to: exchange)
            return .NO
        }
        guard let response = TransportResponse.make(answer, to: exchange, on: self) else { return .NO }
        // The library keeps what it still sends.
        defer { MHD_destroy_response(response) }
        exchange.phase = .answered
        exchange.status = answer.status
        answering.append(exchange.connection, at: MonotonicInstant.now.nanoseconds)
        return MHD_queue_response(exchange.connection.pointer, UInt32(answer.status), response)
    }

    func readBody(of exchange: HTTPExchange) {
        guard !isStopping else { return }
        switch exchange.phase {
        case .head: exchange.wantsBody = true
        case .receiving: break
        case .discarding, .complete, .overflowing, .lingering, .answered, .over: return
        }
        resume(exchange)
    }

    func respond(_ answer: HTTPAnswer, to exchange: HTTPExchange) {
        var answer = answer
        if !commonHeaders.isEmpty { answer.headers += commonHeaders }
        guard !isStopping, exchange.answer == nil else { return answer.discard() }
        switch exchange.phase {
        case .head, .complete:
            exchange.answer = answer
            resume(exchange)
        case .receiving:
            exchange.answer = answer
            exchange.phase = .discarding
            resume(exchange)
        case .overflowing: sendPastLibrary(answer, to: exchange)
        case .discarding, .lingering, .answered, .over: answer.discard()
        }
    }

    /// Answers before the whole request is here, which the library would not.
    private func sendPastLibrary(_ answer: HTTPAnswer, to exchange: HTTPExchange) {
        exchange.answer = nil
        guard let bytes = answer.bytes(isHead: exchange.isHead) else {
            answer.discard()
            return abort(exchange)
        }
        exchange.connection.send(bytes)
        exchange.connection.endSending()
        exchange.status = answer.status
        exchange.phase = .lingering
        answering.append(exchange.connection, at: MonotonicInstant.now.nanoseconds)
    }

    func continueResponse(of exchange: HTTPExchange) {
        guard exchange.phase == .answered, exchange.isSuspended else { return }
        answering.append(exchange.connection, at: MonotonicInstant.now.nanoseconds)
        resume(exchange)
    }

    /// A part of the answer is about to be sent.
    func sending(_ exchange: HTTPExchange) {
        answering.append(exchange.connection, at: passStart)
    }

    /// There is no further part of the answer yet.
    func awaitMore(_ exchange: HTTPExchange) {
        suspend(exchange, in: streaming)
    }

    /// What the library answers when the client has broken the framing of its body.
    private static let brokenBody = 400

    /// - Parameter libraryStatus: The answer that was sent, if it was not this server's.
    private func finish(_ exchange: HTTPExchange, isComplete: Bool, libraryStatus: Int?) {
        exchange.answer?.discard()
        exchange.answer = nil
        let wasAnswered = exchange.status != nil
        exchange.phase = .over
        if !wasAnswered { exchange.delegate.failed(.clientGone) }
        exchange.delegate.ended(status: exchange.status ?? libraryStatus, isComplete: isComplete && wasAnswered)
    }

    /// Ends an exchange without an answer, and its connection with it.
    private func abort(_ exchange: HTTPExchange) {
        exchange.isAborted = true
        exchange.connection.hangUp()
        resume(exchange)
    }

    /// Ends what takes too long.
    private func expire(_ connection: HTTPConnection, _ reason: ClosingReason) {
        switch reason {
        case .slowHandler:
            guard let exchange = connection.exchange else { break }
            handler?.didClose(reason)
            // Where it is answered past the library, this moves it, too.
            connection.leave()
            exchange.delegate.failed(.handlerTimeout)
            return respond(.tooLate, to: exchange)
        case .slowBody, .idle:
            let isSlow = reason == .slowBody || (limits.keepsTargets && connection.awaitsHeaders)
            guard isSlow, connection.session == nil || connection.hasFinishedHandshake,
                let bytes = HTTPAnswer.requestTimeout.bytes(isHead: false)
            else { break }
            connection.exchange?.delegate.failed(.bodyTimeout)
            connection.exchange?.status = HTTPAnswer.requestTimeout.status
            connection.send(bytes)
            return close(connection, reason == .idle ? .slowRequest : reason)
        default: break
        }
        close(connection, reason)
    }

    // MARK: Accepting

    /// Accepts what waits. It is done here rather than by the library, which in want of descriptors would look for
    /// connections without pause, or, with some open, not look again.
    private func acceptConnections() {
        guard !isStopping else { return }
        handler?.willAccept()
        guard let daemon = try? openDaemon() else { return }
        passStart = MonotonicInstant.now.nanoseconds
        // Whoever shares a socket takes one connection and stands in line again.
        for _ in 0..<(limits.sharesSocket ? 1 : Self.longestBatch) {
            guard canAccept else {
                pauseAccepting()
                break
            }
            var address = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let isLast = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { accept(daemon.pointer, $0, &length) }
            }
            if isLast { break }
        }
        if limits.sharesSocket {
            pauseAccepting()
            // Of connections that come together the others would get few: they may still wait for a processor.
            if connectionCount > 1 { rest() }
        }
        runPass()
    }

    /// Whether there is room for a connection, or one that can make room.
    private var canAccept: Bool {
        connectionCount < limits.connections + limits.reservedConnections || silent.head != nil
            || handshaking.head != nil
    }

    /// What a new connection may be used for.
    private enum Admission {
        case everything
        /// It is one of the reserved ones.
        case reserved
    }

    /// Finds room for a connection; `nil` if there is none. It is not left to the library, which would refuse the new
    /// one: a probe behind the same address as idle clients.
    private func admit(_ address: ClientAddress?) -> Admission? {
        if !isFull, !isFull(address) { return .everything }
        // Those that have sent a request already do not count as silent.
        runPass()
        let isAddressFull = isFull(address)
        if !isFull, !isAddressFull { return .everything }
        if let victim = longestWaiting(of: isAddressFull ? address : nil) {
            let wasReserved = victim.isReserved
            close(victim, .evicted)
            runPass()
            return wasReserved ? .reserved : .everything
        }
        return reservedCount < limits.reservedConnections ? .reserved : nil
    }

    private var isFull: Bool { connectionCount - reservedCount >= limits.connections }

    private func isFull(_ address: ClientAddress?) -> Bool {
        guard limits.connectionsPerAddress > 0, let address else { return false }
        return connectionCounts[address, default: 0] >= limits.connectionsPerAddress
    }

    /// The connection that has to go when room is needed, of one address or of all: a handshake that has stalled, or
    /// else the one that has been silent for longest, or else the oldest handshake.
    private func longestWaiting(of address: ClientAddress? = nil) -> HTTPConnection? {
        let stalled = handshaking.first(of: address)
        if let stalled,
            MonotonicInstant(nanoseconds: stalled.since).advanced(by: Self.handshakePatience) <= .now
        {
            return stalled
        }
        return silent.first(of: address) ?? stalled
    }

    /// Accepts one connection. Returns whether there is no other one to be had now.
    private func accept(
        _ daemon: OpaquePointer, _ address: UnsafeMutablePointer<sockaddr>, _ length: inout socklen_t
    ) -> Bool {
        let descriptor = cmicrohttpd_accept(socket.descriptor, address, &length)
        if descriptor >= 0 {
            guard let admission = admit(ClientAddress(address)) else {
                Glibc.close(descriptor)
                handler?.didClose(.refused)
                return false
            }
            acceptsReserved = admission == .reserved
            // Should it fail, the library has closed the connection.
            _ = MHD_add_connection(daemon, descriptor, address, length)
            if let connection = accepted, connection.tls != nil { park(connection) }
            accepted = nil
            return false
        }
        switch errno {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM:
            // The kernel reports this even when no client waits.
            var waiting = pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, 0) > 0 else { return true }
            if let victim = longestWaiting() { close(victim, .evicted) }
            pauseAccepting()
            isShortOfDescriptors = true
            loop.schedule(at: .now.advanced(by: Self.shortagePause)) { [weak self] in
                self?.isShortOfDescriptors = false
                self?.resumeAccepting()
            }
            return true
        case EAGAIN:
            return true
        case EINVAL:
            // It does not listen any more.
            pauseAccepting()
            return true
        default:
            // The client has given up meanwhile, for example.
            return false
        }
    }

    private func rest() {
        isResting = true
        loop.schedule(at: .now.advanced(by: Self.restTime)) { [self] in
            isResting = false
            resumeAccepting()
        }
    }

    private func pauseAccepting() {
        guard let listening else { return }
        loop.unwatch(listening)
        self.listening = nil
    }

    /// The descriptor is watched for its state, not for changes, so clients that wait already are seen.
    private func resumeAccepting() {
        guard !isStopping, !isDraining, listening == nil, !isShortOfDescriptors, !isResting, canAccept else { return }
        listening = try? watchListener()
    }

    // MARK: Handshakes

    /// Keeps a connection whose handshake is not finished away from the library until its next bytes are there: the
    /// library would try again and again meanwhile (up to 1.0.1, with epoll), at the cost of a whole processor.
    private func park(_ connection: HTTPConnection) {
        MHD_suspend_connection(connection.pointer)
        let events: DescriptorEvents = TLSCredentials.isSending(connection.session) ? .writable : .readable
        do {
            let watch = try loop.watch(connection.descriptor, for: events) { [self] _ in
                guard case .waiting(let watch) = connection.handshake else { return }
                loop.unwatch(watch)
                connection.handshake = .ready
                if readyHandshakes.isEmpty { loop.submit { [self] in stepHandshakes() } }
                readyHandshakes.append(connection)
            }
            connection.handshake = .waiting(watch)
        } catch {
            connection.handshake = .ready
            close(connection, .handshake)
        }
    }

    private func stepHandshakes() {
        guard !isStopping else { return }
        for _ in 0..<Self.handshakeBatch {
            guard let connection = readyHandshakes.popLast() else { break }
            proceed(connection)
        }
        runPass()
        if !readyHandshakes.isEmpty { loop.submit { [self] in stepHandshakes() } }
    }

    /// Gives a connection back to the library, for the next step of its handshake or for its end.
    private func proceed(_ connection: HTTPConnection) {
        switch connection.handshake {
        case .none, .stepping: return
        case .waiting(let watch): loop.unwatch(watch)
        case .ready: break
        }
        connection.handshake = .stepping
        steppingHandshakes.append(connection)
        MHD_resume_connection(connection.pointer)
    }

    /// Takes the connections back whose handshake was not finished in this pass.
    private func parkHandshakes() {
        guard !steppingHandshakes.isEmpty else { return }
        let connections = steppingHandshakes
        steppingHandshakes = []
        for connection in connections {
            guard case .stepping = connection.handshake else { continue }
            if connection.hasFinishedHandshake || connection.isEnding {
                connection.handshake = .none
                // Unless its first request is there already.
                if connection.list === handshaking { silent.append(connection, at: passStart) }
            } else {
                park(connection)
            }
        }
    }

    // MARK: Timeouts

    /// Ends the connections whose time is over, and sets the timer for the next.
    private func expire() {
        let now = MonotonicInstant.now
        var deadline = min(
            end(handshaking, after: limits.handshakeTimeout, at: now, .handshake),
            end(silent, after: limits.idleTimeout, at: now, .idle),
            end(answering, after: limits.responseTimeout, at: now, .slowReader))
        if let timeout = limits.bodyTimeout {
            deadline = min(deadline, end(receiving, after: timeout, at: now, .slowBody))
        }
        if let timeout = limits.handlerTimeout {
            deadline = min(deadline, end(handling, after: timeout, at: now, .slowHandler))
        }
        // A timer that fires too early does no harm; so requests do not move it.
        guard deadline < timer?.deadline ?? .max else { return }
        if let timer { loop.cancel(timer.action) }
        let action = loop.schedule(at: MonotonicInstant(nanoseconds: deadline)) { [self] in
            timer = nil
            expire()
        }
        timer = (action, deadline)
    }

    private func end(
        _ list: HTTPConnectionList, after limit: Duration, at now: MonotonicInstant, _ reason: ClosingReason
    ) -> Int64 {
        while let connection = list.head {
            let deadline = MonotonicInstant(nanoseconds: connection.since).advanced(by: limit)
            guard deadline <= now else { return deadline.nanoseconds }
            expire(connection, reason)
        }
        return .max
    }

    private func close(_ connection: HTTPConnection, _ reason: ClosingReason) {
        connection.leave()
        end(connection)
        handler?.didClose(reason)
    }

    /// Ends a connection: the library closes it in the next pass.
    private func end(_ connection: HTTPConnection) {
        connection.hangUp()
        if let exchange = connection.exchange { abort(exchange) }
        guard connection.isHandshaking else { return }
        // The library does not watch it.
        proceed(connection)
        loop.submit { [self] in runPass() }
    }

    // MARK: Connections

    fileprivate func connectionStarted(_ connection: OpaquePointer) -> HTTPConnection {
        let client = HTTPConnection(
            pointer: connection, descriptor: cmicrohttpd_connection_descriptor(connection),
            address: cmicrohttpd_client_address(connection).flatMap { ClientAddress($0) },
            isReserved: acceptsReserved)
        connectionCount += 1
        handler?.didChangeConnections(connectionCount)
        if client.isReserved {
            reservedCount += 1
        } else if let address = client.address {
            connectionCounts[address, default: 0] += 1
        }
        if let tls, let session = cmicrohttpd_tls_session(connection) {
            client.tls = tls
            client.session = session
            tls.prepare(session, for: client, isLenient: admitsAllClients)
            handshaking.append(client, at: passStart)
        } else {
            silent.append(client, at: passStart)
        }
        accepted = client
        return client
    }

    fileprivate func connectionEnded(_ connection: HTTPConnection) {
        connection.leave()
        connection.handshake = .none
        connection.session = nil
        endBulk(connection)
        connectionCount -= 1
        handler?.didChangeConnections(connectionCount)
        if connection.isReserved {
            reservedCount -= 1
        } else if let address = connection.address {
            let left = connectionCounts[address, default: 1] - 1
            connectionCounts[address] = left > 0 ? left : nil
        }
        isShortOfDescriptors = false
        if isDraining, connectionCount == 0 { loop.submit { [self] in finishDraining() } }
    }

    private func client(of connection: OpaquePointer) -> HTTPConnection? {
        cmicrohttpd_socket_context(connection).map {
            Unmanaged<HTTPConnection>.fromOpaque($0).takeUnretainedValue()
        }
    }
}

/// A daemon of the library: it has no thread and accepts nothing itself.
private final class HTTPDaemon {
    let pointer: OpaquePointer
    let isSecure: Bool
    var watch: EventLoop.Watch?

    init(
        _ limits: HTTPTransport.Limits, _ tls: TLSConfiguration?, context: UnsafeMutableRawPointer
    ) throws(SystemError) {
        isSecure = tls != nil
        func start(_ certificate: UnsafePointer<CChar>?, _ key: UnsafePointer<CChar>?) -> OpaquePointer? {
            cmicrohttpd_start(
                UInt32(limits.connections + limits.reservedConnections), limits.requestSize, certificate, key,
                handleRequest, completedRequest, changedConnection, beganRequest, loggedMessage, context)
        }
        let started =
            if let tls {
                // The library wants them once more at its start; each connection is given those of its time.
                String(decoding: tls.certificate, as: UTF8.self).withCString { certificate in
                    String(decoding: tls.key, as: UTF8.self).withCString { start(certificate, $0) }
                }
            } else {
                start(nil, nil)
            }
        guard let started else { throw SystemError("MHD_start_daemon") }
        pointer = started
    }

    /// The descriptor that is readable when there is something to do.
    var descriptor: Int32 { cmicrohttpd_epoll_descriptor(pointer) }

    /// Whether it has something to do at once.
    var isUnfinished: Bool {
        var timeout: UInt64 = 0
        return MHD_get_timeout(pointer, &timeout) == .YES && timeout == 0
    }
}

// What the library calls. They are functions of the file's level because C knows no others.

private func server(_ context: UnsafeMutableRawPointer?) -> HTTPTransport? {
    context.map { Unmanaged<HTTPTransport>.fromOpaque($0).takeUnretainedValue() }
}

private func handleRequest(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?, _ path: UnsafePointer<CChar>?,
    _ method: UnsafePointer<CChar>?, _ version: UnsafePointer<CChar>?, _ body: UnsafePointer<CChar>?,
    _ bodySize: UnsafeMutablePointer<Int>?, _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> MHD_Result {
    guard let server = server(context), let connection, let path, let method, let version, let bodySize, let mark else {
        return .NO
    }
    return server.handle(
        connection, path: path, method: method, version: version, body: body, bodySize: bodySize, mark: mark)
}

private func beganRequest(
    _ context: UnsafeMutableRawPointer?, _ target: UnsafePointer<CChar>?, _ connection: OpaquePointer?
) -> UnsafeMutableRawPointer? {
    guard let server = server(context), let target, let connection else { return nil }
    return server.began(connection, target)
}

private func loggedMessage(
    _ context: UnsafeMutableRawPointer?, _ format: UnsafePointer<CChar>?, _ arguments: CVaListPointer?
) {
    guard let server = server(context), let format else { return }
    server.logged(format)
}

private func completedRequest(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?,
    _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ reason: MHD_RequestTerminationCode
) {
    guard let server = server(context), let connection, let mark else { return }
    server.completed(connection, mark: mark, reason: reason)
}

private func changedConnection(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?,
    _ stored: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ change: MHD_ConnectionNotificationCode
) {
    guard let server = server(context), let connection, let stored else { return }
    if change == .CONNECTION_NOTIFY_STARTED {
        stored.pointee = Unmanaged.passRetained(server.connectionStarted(connection)).toOpaque()
    } else if let pointer = stored.pointee {
        stored.pointee = nil
        server.connectionEnded(Unmanaged<HTTPConnection>.fromOpaque(pointer).takeRetainedValue())
    }
}
