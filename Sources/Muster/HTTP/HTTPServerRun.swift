// SPDX-License-Identifier: Apache-2.0

import Glibc
import HTTPTypes
import Logging
import MusterEndpoint
import MusterExecution
import MusterHTTP
import MusterLock
import MusterMetrics
import MusterPlatform

/// One run of an ``HTTPServer``, from its start to its stop.
///
/// Sound as `@unchecked Sendable`: constants, locked state, and what is touched on the loop's thread only.
final class HTTPServerRun: HTTPHandler, @unchecked Sendable {
    let name: String
    let limits: HTTPServer.Limits
    let engine: any ExecutionEngine
    let metrics: HTTPServerMetrics
    let router: HTTPRouter
    let logger: Logger
    let accessLevel: Logger.Level?
    /// Completed when the last connection has ended and the socket is closed.
    let ended = Completion<Void>()
    var loop: EventLoop { transport.loop }

    private let transport: HTTPTransport
    private let tracing: RequestTracing
    private struct Calls {
        var isOver = false
        var next = 0
        /// What to do with those whose turn does not come.
        var waiting: [Int: @Sendable () -> Void] = [:]
    }

    /// The calls that wait for the loop's thread.
    private let calls = Locked(Calls())
    private let isShared: Bool
    private let tls: TLSSource?
    /// Whether a look at a change of the web config file is scheduled.
    private var isRefreshPending = false
    /// How many requests have a handler.
    private var activeCount = 0

    init(
        name: String, socket: ListeningSocket, limits: HTTPServer.Limits, webConfigFile: String?, router: HTTPRouter,
        accessLevel: Logger.Level?, backend: Backend
    ) throws(HTTPServerError) {
        self.name = name
        self.limits = limits
        self.router = router
        self.accessLevel = accessLevel
        engine = backend.engine
        tracing = RequestTracing(backend.tracing)
        var logger = backend.logger
        logger[metadataKey: "server"] = "\(name)"
        self.logger = logger
        do {
            metrics = try HTTPServerMetrics(registry: backend.metrics, routes: router.routes)
        } catch {
            throw .metricNameTaken(reason: "\(error)")
        }
        do throws(WebConfigError) {
            tls = try webConfigFile.map { file throws(WebConfigError) in try TLSSource(file: file, logger: logger) }
        } catch {
            throw .badWebConfig(reason: "\(error)")
        }
        var transportLimits = HTTPTransport.Limits(
            connections: limits.connections, connectionsPerAddress: 0, reservedConnections: 0,
            requestSize: limits.headerSize, handshakeTimeout: .seconds(10), idleTimeout: limits.idleTimeout,
            responseTimeout: limits.responseTimeout)
        transportLimits.bodyTimeout = limits.bodyTimeout
        transportLimits.handlerTimeout = limits.handlerTimeout
        transportLimits.keepsTargets = true
        transportLimits.sharesSocket = Worker.isWorkerProcess
        let sharedLoop = engine.sharedLoop
        isShared = sharedLoop != nil
        do {
            let own = try socket.duplicate()
            do {
                transport = try HTTPTransport(
                    socket: own, limits: transportLimits, tls: tls?.credentials, on: sharedLoop,
                    threadName: "\(name)-io")
            } catch {
                own.closeDescriptor()
                throw error
            }
            transport.commonHeaders = tls?.headers ?? []
        } catch let error as HTTPTransportError {
            throw HTTPServerError(error)
        } catch let error as SystemError {
            throw .noResources(error)
        } catch {
            throw .libraryUnavailable(reason: "\(error)")
        }
    }

    func start() async throws(HTTPServerError) {
        do throws(HTTPTransportError) {
            guard isShared else {
                return try transport.start(self, whenDone: { [self] in finish() })
            }
            let result: Result<Void, HTTPTransportError>? = await onLoop { [self] in
                Result { () throws(HTTPTransportError) in try transport.start(self) }
            }
            try result?.get()
        } catch {
            throw HTTPServerError(error)
        }
    }

    /// Runs something on the loop's thread; returns `nil` if that thread has ended.
    @discardableResult
    func onLoop<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value? {
        if loop.isCurrent { return work() }
        return await withCheckedContinuation { continuation in
            let number: Int? = calls.withLock { calls in
                guard !calls.isOver else { return nil }
                calls.next += 1
                calls.waiting[calls.next] = { continuation.resume(returning: nil) }
                return calls.next
            }
            guard let number else { return continuation.resume(returning: nil) }
            loop.submit { [self] in
                guard calls.withLock({ $0.waiting.removeValue(forKey: number) }) != nil else { return }
                continuation.resume(returning: work())
            }
        }
    }

    /// The loop runs nothing of this server's any more.
    private func finish() {
        let waiting = calls.withLock { calls in
            calls.isOver = true
            defer { calls.waiting = [:] }
            return calls.waiting.values
        }
        for abandon in waiting { abandon() }
        ended.complete(with: ())
    }

    /// Several stops wait for one end; one that is not graceful brings it about.
    func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        let drained = Completion<Void>()
        ended.whenComplete { drained.complete(with: ()) }
        // Not at once, as the library may be calling: a handler begins in its call.
        if graceful {
            loop.submit { [self] in transport.drain(patience: limits.idleGrace) { drained.complete(with: ()) } }
            do {
                _ = try await drained.wait(
                    until: deadline, clock: engine.clock, operation: "the requests of the HTTP server '\(name)'")
            } catch {
                await end()
                throw error
            }
        }
        await end()
    }

    private func end() async {
        loop.submit { [self] in
            transport.forEachExchange { ($0 as? HTTPServerExchange)?.cancel() }
            transport.stop()
            metrics.connections.set(0)
            if isShared { finish() }
        }
        try? await ended.wait()
    }

    // MARK: The transport's calls

    func respond(to request: TransportRequest) -> HTTPReply {
        let target = request.target
        let exchange = HTTPServerExchange(self, method: request.methodName, began: .now)
        let origin = Self.origin(of: target)
        if !request.isMalformed, target == "*", exchange.method == "OPTIONS" {
            // Asked of the server as a whole (RFC 9110, 9.3.7).
            return reply(request, exchange, HTTPAnswer(status: 204), [("Allow", router.methods)])
        }
        // It is no proxy (CONNECT).
        guard !request.isMalformed, origin.utf8.first == UInt8(ascii: "/") else {
            return reply(request, exchange, HTTPServer.Failure(.badRequest))
        }
        if request.hasUnknownCoding { return reply(request, exchange, HTTPServer.Failure(.notImplemented)) }
        if let length = request.contentLength, length > UInt64(max(0, limits.bodySize)) {
            return reply(request, exchange, .tooLarge(limits))
        }
        let match = router.match(exchange.method, HTTPServer.Request.path(of: origin))
        if tracing.isOn {
            let route: HTTPRouter.Route? = if case .found(let route, _) = match { route } else { nil }
            exchange.span = tracing.begin(
                Self.head(of: request, origin, isSecure: transport.isSecure), route: route?.pattern,
                isSecure: transport.isSecure)
        }
        switch match {
        case .missing: return reply(request, exchange, HTTPServer.Failure(.notFound))
        case .wrongMethod(let allowed):
            return reply(
                request, exchange, HTTPServer.Failure(.methodNotAllowed), [("Allow", allowed.joined(separator: ", "))])
        case .found(let route, let values):
            let transported = HTTPExchange(
                request, on: transport, bodyLimit: UInt64(max(0, limits.bodySize)), delegate: exchange)
            activeCount += 1
            metrics.active.set(Double(activeCount))
            exchange.begin(
                transported, route, Self.head(of: request, origin, isSecure: transport.isSecure), values,
                hasBody: request.hasBody)
            return .exchange(transported)
        }
    }

    /// Answers without a handler.
    private func reply(
        _ request: TransportRequest, _ exchange: HTTPServerExchange, _ failure: HTTPServer.Failure,
        _ headers: [(name: String, value: String)] = []
    ) -> HTTPReply {
        var answer = HTTPAnswer(status: failure.status.code, text: failure.message + "\n")
        // What follows may not be a request.
        answer.closesConnection = failure.status == .badRequest || failure.status == .notImplemented
        return reply(request, exchange, answer, headers)
    }

    private func reply(
        _ request: TransportRequest, _ exchange: HTTPServerExchange, _ answer: HTTPAnswer,
        _ headers: [(name: String, value: String)]
    ) -> HTTPReply {
        let transported = HTTPExchange(
            request, on: transport, bodyLimit: UInt64(max(0, limits.bodySize)), delegate: exchange)
        var answer = answer
        answer.headers += headers
        transported.respond(answer)
        return .exchange(transported)
    }

    /// The target's part that names something of this server's (RFC 9112, 3.2.2).
    private static func origin(of target: String) -> String {
        guard target.utf8.first != UInt8(ascii: "/"), let authority = target.firstRange(of: "://") else {
            return target
        }
        let rest = target[authority.upperBound...]
        return rest.firstIndex(of: "/").map { String(rest[$0...]) } ?? "/"
    }

    private static func head(of request: TransportRequest, _ origin: String, isSecure: Bool) -> HTTPRequest {
        var fields = HTTPFields()
        var authority: String?
        request.forEachHeader { name, value in
            // As HTTP/2 has it, and swift-http-types.
            if strcasecmp(name, "Host") == 0 {
                authority = String(cString: value)
            } else if let name = HTTPField.Name(String(cString: name)) {
                fields.append(HTTPField(name: name, value: String(cString: value)))
            }
        }
        return HTTPRequest(
            method: HTTPRequest.Method(request.methodName) ?? .get, scheme: isSecure ? "https" : "http",
            authority: authority, path: origin, headerFields: fields)
    }

    func respond(stopping request: TransportRequest) -> HTTPReply { .disconnect }

    func didClose(_ reason: HTTPTransport.ClosingReason) { metrics.closed(reason) }

    func willAccept() {
        guard let tls else { return }
        let (isNew, wait) = tls.refresh()
        if let wait, !isRefreshPending {
            isRefreshPending = true
            // Nobody may connect for a long time.
            loop.schedule(at: .now.advanced(by: wait + .milliseconds(1))) { [weak self] in
                self?.isRefreshPending = false
                self?.willAccept()
            }
        }
        guard isNew else { return }
        transport.commonHeaders = tls.headers
        do {
            try transport.setTLS(tls.credentials)
        } catch {
            logger.error("failed to apply web config file", metadata: ["reason": "\(error)"])
        }
    }

    func didRefuse(_ status: Int) {
        metrics.answered(method: "GET", route: nil, status: status, received: 0, sent: 0, took: .zero)
    }

    func didFinishPass() {}

    func didChangeConnections(_ count: Int) { metrics.connections.set(Double(count)) }

    /// An exchange is over. On the loop's thread.
    func ended(_ exchange: HTTPServerExchange, status: Int?, isComplete: Bool) {
        if exchange.route != nil {
            activeCount -= 1
            metrics.active.set(Double(activeCount))
        }
        let duration = exchange.began.duration(to: .now)
        RuntimeSpan.within(exchange.span) {
            metrics.answered(
                method: exchange.method, route: exchange.route, status: status ?? 0, received: exchange.receivedBytes,
                sent: exchange.sentBytes, took: duration)
        }
        exchange.span?.end(status: status)
        guard let accessLevel else { return }
        logger.log(
            level: accessLevel, "request",
            metadata: [
                "method": "\(exchange.method)", "path": "\(exchange.path)", "status": "\(status ?? 0)",
                "duration_seconds": "\(duration.inSeconds)", "complete": "\(isComplete)",
            ])
    }
}

extension HTTPServer.Failure {
    fileprivate static func tooLarge(_ limits: HTTPServer.Limits) -> Self {
        Self(.contentTooLarge, "content too large: a request's body may have \(limits.bodySize) bytes")
    }
}

extension HTTPServerError {
    fileprivate init(_ error: HTTPTransportError) {
        switch error {
        case .noLibrary(let reason): self = .libraryUnavailable(reason: reason)
        case .noResources(let error): self = .noResources(error)
        }
    }
}

/// One request, from its headers to the end of its answer.
///
/// Sound as `@unchecked Sendable`: constants and locked state, and what is touched on the loop's thread only.
final class HTTPServerExchange: HTTPExchangeDelegate, @unchecked Sendable {
    let method: String
    let began: MonotonicInstant
    private(set) var route: HTTPRouter.Route?
    private(set) var path = ""
    private(set) var receivedBytes = 0
    private(set) var sentBytes = 0
    /// Where requests are traced; set before the handler's job begins.
    var span: RuntimeSpan?

    private let run: HTTPServerRun
    private var exchange: HTTPExchange?
    /// Until the handler has it.
    private var request: HTTPServer.Request?
    private var requestBody: RequestChannel?
    private var responseBody: ResponseChannel?
    /// An answer that may be made of the request's body, until that is complete.
    private var heldAnswer: HTTPAnswer?
    private var job: Job?
    /// Whether the client has sent what no further request is to be read after.
    private var endsConnection = false

    init(_ run: HTTPServerRun, method: String, began: MonotonicInstant) {
        self.run = run
        self.method = method
        self.began = began
    }

    // MARK: The handler's job

    func begin(
        _ exchange: HTTPExchange, _ route: HTTPRouter.Route, _ head: HTTPRequest, _ values: [Substring], hasBody: Bool
    ) {
        self.exchange = exchange
        self.route = route
        path = head.path ?? ""
        if hasBody { requestBody = RequestChannel(loop: run.loop, exchange) }
        var parameters: [String: String] = [:]
        for (name, value) in zip(route.names, values) { parameters[name] = HTTPRouter.decoded(value) }
        request = HTTPServer.Request(
            head: head, parameters: parameters, body: HTTPServer.RequestBody(channel: requestBody))
        do {
            job = try run.engine.spawn(name: run.name, atOnce: true, handle)
        } catch {
            run.logger.warning("no room for a request", metadata: ["error": "\(error)"])
            var answer = HTTPAnswer(status: 503, text: "too many requests at a time\n")
            answer.headers.append(("Retry-After", "1"))
            exchange.respond(answer)
        }
    }

    /// The job's body.
    @Sendable private func handle() async {
        if span == nil { await answer() } else { await RuntimeSpan.within(span) { await answer() } }
    }

    private nonisolated(nonsending) func answer() async {
        guard let request = request.take(), let route else { return }
        let isHead = request.head.method == .head
        let response: HTTPServer.Response
        do {
            response = try await route.handler(request)
        } catch {
            response = self.response(to: error)
        }
        if let parts = send(response, isHead: isHead) { await stream(parts, isHead: isHead) }
    }

    private func response(to error: any Error) -> HTTPServer.Response {
        if let failure = error as? HTTPServer.Failure {
            return .text(failure.message + "\n", status: failure.status)
        }
        if error is CancellationError, Task.isCancelled {
            return .text("the request was cancelled\n", status: .serviceUnavailable)
        }
        run.logger.error(
            "request failed", metadata: ["method": "\(method)", "path": "\(path)", "error": "\(error)"])
        return .text("internal error\n", status: .internalServerError)
    }

    /// A response whose body is still to be made.
    private struct Parts {
        let answer: HTTPAnswer
        let length: Int?
        let produce: @Sendable (HTTPServer.ResponseBody.Write) async throws -> Void
    }

    /// Sends a response; returns it if its body is still to be made.
    private func send(_ response: HTTPServer.Response, isHead: Bool) -> Parts? {
        guard response.head.status.code >= 200 else {
            run.logger.error(
                "response without a final status",
                metadata: ["method": "\(method)", "path": "\(path)", "status": "\(response.head.status.code)"])
            return send(.text("internal error\n", status: .internalServerError), isHead: isHead)
        }
        var answer = HTTPAnswer(status: response.head.status.code)
        for field in response.head.headerFields where !Self.ownHeaders.contains(field.name) {
            answer.headers.append((field.name.rawName, field.value))
        }
        switch response.body.content {
        case .bytes(let bytes):
            answer.body = .bytes(bytes)
            send(answer, size: isHead ? 0 : bytes.count)
        case .text(let text):
            answer.body = .text(text)
            send(answer, size: isHead ? 0 : text.utf8.count)
        case .file(let file, let size):
            // The library closes what it is given.
            let descriptor = fcntl(file.rawValue, F_DUPFD_CLOEXEC, 3)
            if descriptor >= 0 {
                answer.body = .file(descriptor: descriptor, offset: 0, size: size)
                send(answer, size: isHead ? 0 : Int(clamping: size))
            } else {
                send(HTTPAnswer(status: 503, text: "too many open files\n"), size: 0)
            }
        case .parts(let length, let produce):
            return Parts(answer: answer, length: length, produce: produce)
        }
        return nil
    }

    /// What the server writes itself.
    private static let ownHeaders: [HTTPField.Name] = [.contentLength, .transferEncoding, .connection, .date]

    private func send(_ answer: HTTPAnswer, size: Int) {
        if run.loop.isCurrent { return respond(answer, size) }
        run.loop.submit { [self] in respond(answer, size) }
    }

    private func respond(_ answer: HTTPAnswer, _ size: Int) {
        guard let exchange else { return answer.discard() }
        sentBytes = size
        var answer = answer
        if endsConnection { answer.closesConnection = true }
        exchange.respond(answer)
    }

    private func stream(_ parts: Parts, isHead: Bool) async {
        let length = parts.length
        let body = await run.onLoop { [self] () -> ResponseChannel? in
            guard let exchange else { return nil }
            let isOpen = requestBody == nil || exchange.isComplete
            let body = ResponseChannel(loop: run.loop, exchange, isOpen: isOpen, closedCapacity: run.limits.bodySize)
            responseBody = body
            var answer = parts.answer
            answer.body = .source(body, size: length.map { UInt64(max(0, $0)) })
            // What is made of the request's body waits for its end. Whether it is shows when there is a first part.
            if isOpen { exchange.respond(answer) } else { heldAnswer = answer }
            return body
        }
        guard let body = body ?? nil else { return }
        // Nothing of it is sent.
        if isHead {
            await run.onLoop { self.openResponse() }
            return
        }
        do {
            let left = Locked(length)
            try await parts.produce { [self] part in
                let isTooLong = left.withLock { left in
                    left = left.map { $0 - part.count }
                    return (left ?? 0) < 0
                }
                if isTooLong { throw LengthMismatch() }
                if requestBody?.isRead == false { await run.onLoop { self.openResponse() } }
                try await body.write(part)
            }
            if left.withLock({ $0 ?? 0 }) > 0 { throw LengthMismatch() }
            body.finish(isWhole: true)
            await run.onLoop { self.openResponse() }
        } catch {
            body.finish(isWhole: false)
            await run.onLoop { self.openResponse() }
            switch error {
            case HTTPExchange.Failure.clientGone: break
            case is CancellationError where Task.isCancelled: break
            default:
                run.logger.error(
                    "response broken off", metadata: ["method": "\(method)", "path": "\(path)", "error": "\(error)"])
            }
        }
    }

    /// Sends the answer that was held back. On the loop's thread.
    private func openResponse() {
        guard let answer = heldAnswer.take() else { return }
        responseBody?.open()
        exchange?.respond(answer)
    }

    private struct LengthMismatch: Error, CustomStringConvertible {
        var description: String { "the parts are not as long as the length that was given for them" }
    }

    func cancel() { job?.cancel() }

    // MARK: The transport's calls

    func received(_ bytes: UnsafeRawBufferPointer) -> Bool {
        receivedBytes += bytes.count
        return requestBody?.received(bytes) ?? true
    }

    func receivedAll() {
        requestBody?.finish()
        openResponse()
    }

    func failed(_ failure: HTTPExchange.Failure) {
        switch failure {
        case .bodyTooLarge: requestBody?.fail(HTTPServer.Failure.tooLarge(run.limits))
        case .trailers:
            endsConnection = true
            requestBody?.fail(HTTPServer.Failure(.badRequest, "trailers are not accepted"))
        case .bodyTimeout:
            requestBody?.fail(HTTPServer.Failure(.requestTimeout))
        case .clientGone:
            requestBody?.fail(failure)
            cancel()
        case .handlerTimeout:
            run.logger.warning(
                "handler cancelled",
                metadata: ["method": "\(method)", "path": "\(path)", "reason": "it takes too long"])
            cancel()
        }
    }

    func ended(status: Int?, isComplete: Bool) {
        requestBody?.release()
        responseBody?.release()
        exchange = nil
        heldAnswer = nil
        job = nil
        sentBytes += responseBody?.sentBytes ?? 0
        run.ended(self, status: status, isComplete: isComplete)
    }
}
