// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc
import Logging
import MusterHealth
import MusterPlatform
import Synchronization

/// One run of the endpoint: the HTTP daemon, driven by an event loop of its own.
///
/// Sound as `@unchecked Sendable`: after `start` everything is touched on the loop's thread only.
final class EndpointServer: @unchecked Sendable {
    /// What the library keeps for a request between two calls; a pointer to a ``Suspension`` otherwise.
    enum Mark {
        static var seen: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 1) }
        static var scrape: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 2) }

        static func isPlain(_ pointer: UnsafeMutableRawPointer?) -> Bool {
            pointer == nil || pointer == seen || pointer == scrape
        }
    }

    static let loopName = "muster-http"

    let loop: EventLoop
    let configuration: EndpointConfiguration
    let health: HealthRegistry
    let status: StatusResponses
    let metrics: EndpointMetrics?
    let socket: ListeningSocket

    /// The one without TLS and the one with it, each made when the first connection needs it.
    var daemons: [HTTPDaemon] = []
    /// `nil` while no more connections are accepted.
    var listening: EventLoop.Watch?
    var isShortOfDescriptors = false
    var timer: (action: EventLoop.ScheduledAction, deadline: Int64)?
    var isStopping = false
    var isRunning = false

    let silent = ConnectionList()
    let answering = ConnectionList()
    var connectionCount = 0
    var scrapesUnderWay = 0
    var suspended: [ObjectIdentifier: Suspension] = [:]

    var fixed: [OpaquePointer] = []
    var acceptedMetrics = HeaderMemo<MetricsNegotiation>()
    var acceptedHealth = HeaderMemo<HealthNegotiation>()
    var acceptedCodings = HeaderMemo<Bool>()
    var acceptedPages = HeaderMemo<StatusFormat>()
    let scrapes: ScrapeResponses

    /// Who is let in; `nil` for everybody.
    var access: AccessControl?
    let logger: Logger
    private let secure = Atomic<Bool>(false)

    /// When the present pass began, in monotonic nanoseconds.
    var passStart: Int64 = 0

    init(
        configuration: EndpointConfiguration, socket: ListeningSocket, renderer: any MetricsRenderer,
        health: HealthRegistry, status: StatusBoard, metrics: EndpointMetrics?, webConfig: WebConfigSource?,
        logger: Logger
    ) throws(EndpointError) {
        self.configuration = configuration
        self.socket = socket
        self.health = health
        self.status = StatusResponses(status)
        self.metrics = metrics
        self.logger = logger
        do {
            loop = try EventLoop(name: Self.loopName, parking: .descriptors)
        } catch {
            throw .noResources(error)
        }
        scrapes = ScrapeResponses(
            renderer: renderer, metrics: metrics, compressionLevel: configuration.compressionLevel)
        guard let webConfig else { return }
        let verifier = PasswordVerifier(loop: loop, check: configuration.passwordCheck) { [weak self] in
            self?.resume($0)
        }
        access = AccessControl(
            source: webConfig, verifier: verifier, opensProbes: configuration.opensProbes, logger: logger,
            metrics: metrics)
    }

    /// Whether new connections are encrypted. May be asked on any thread.
    var isSecure: Bool { secure.load(ordering: .relaxed) }

    // MARK: Starting and stopping

    /// Starts to listen, on a thread of its own.
    ///
    /// - Parameter whenDone: Called on that thread when it ends.
    func start(whenDone: @escaping @Sendable () -> Void) throws(EndpointError) {
        if let problem = cmicrohttpd_load() {
            tearDown()
            throw .noLibrary(reason: String(cString: problem))
        }
        guard makeFixedResponses() else {
            tearDown()
            throw .noResources(SystemError("MHD_create_response_from_buffer", code: ENOMEM))
        }
        do {
            try openDaemon()
            listening = try loop.watch(socket.descriptor, for: .readable) { [self] _ in acceptConnections() }
            try loop.attachThread(name: Self.loopName, whenDone: whenDone)
        } catch let error as EventLoopError {
            tearDown()
            guard case .cannotWatch(_, let cause) = error else { throw .noResources(SystemError("epoll", code: EBUSY)) }
            throw .noResources(cause)
        } catch let error as SystemError {
            tearDown()
            throw .noResources(error)
        } catch {
            tearDown()
            throw .noResources(SystemError("pthread_create", code: EAGAIN))
        }
    }

    /// Makes the daemon that new connections need, unless there is one.
    ///
    /// - Returns: The daemon.
    @discardableResult
    func openDaemon() throws -> HTTPDaemon {
        let material = access?.material
        secure.store(material != nil, ordering: .relaxed)
        if let daemon = daemons.first(where: { $0.isSecure == (material != nil) }) { return daemon }
        let daemon = try HTTPDaemon(
            configuration, material?.settings, context: Unmanaged.passUnretained(self).toOpaque())
        daemon.watch = try loop.watch(daemon.descriptor, for: .readable) { [self] _ in runPass() }
        daemons.append(daemon)
        return daemon
    }

    /// Ends everything, and the loop's thread with it. To be called on the loop's thread.
    func stop() {
        guard !isStopping else { return }
        isStopping = true
        for request in suspended.values {
            request.cancel()
            MHD_resume_connection(request.connection)
        }
        suspended = [:]
        // Hands the refusals to the clients that have been waiting.
        for daemon in daemons { MHD_run(daemon.pointer) }
        tearDown()
        loop.stop()
    }

    private func tearDown() {
        if let timer { loop.cancel(timer.action) }
        timer = nil
        for daemon in daemons {
            if let watch = daemon.watch { loop.unwatch(watch) }
            daemon.watch = nil
        }
        pauseAccepting()
        socket.unlinkFile()
        socket.closeDescriptor()
        for daemon in daemons { daemon.stop() }
        daemons = []
        scrapes.tearDown()
        status.forget()
        dropFixedResponses()
    }

    // MARK: The loop

    func runPass() {
        guard !isRunning, !isStopping else { return }
        isRunning = true
        defer { isRunning = false }
        var isUnfinished = true
        for _ in 0..<4 where isUnfinished {
            passStart = MonotonicInstant.now.nanoseconds
            isUnfinished = false
            for daemon in daemons { MHD_run(daemon.pointer) }
            scrapes.endPass()
            for daemon in daemons where daemon.isUnfinished { isUnfinished = true }
        }
        if isUnfinished { loop.submit { [self] in runPass() } }
        resumeAccepting()
        expire()
    }
}

extension EndpointServer {
    // MARK: Requests

    func handle(
        _ connection: OpaquePointer, path: UnsafePointer<CChar>, method: UnsafePointer<CChar>,
        bodySize: UnsafeMutablePointer<Int>, mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        switch mark.pointee {
        case nil:
            // All headers are here. The library wants to be called again before it is given an answer, except for
            // one that ends the connection.
            mark.pointee = Mark.seen
            if let state = state(of: connection) { answering.append(state, at: passStart) }
            guard hasBody(connection) else { return .YES }
            return answer(connection, RouteLabel.other, isServed(method) ? .bodyRefused : .methodNotAllowed)
        case Mark.seen, Mark.scrape:
            // There is no body to be had here; should there be one, it is thrown away.
            bodySize.pointee = 0
            let route = Route(path: String(cString: path))
            if let access, mark.pointee == Mark.seen, let answered = admit(connection, route, access, mark) {
                return answered
            }
            guard isServed(method) else { return answer(connection, RouteLabel.other, .methodNotAllowed) }
            return serve(connection, route, mark)
        case .some(let pointer):
            let suspension = Unmanaged<Suspension>.fromOpaque(pointer).takeUnretainedValue()
            if let login = suspension as? PendingLogin { return go(on: login, path, method, mark) }
            guard let request = suspension as? SuspendedRequest else { return .NO }
            guard let report = request.report else { return answer(connection, RouteLabel.other, .stopping) }
            return answer(request, with: report)
        }
    }

    func completed(
        _ connection: OpaquePointer, mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>,
        reason: MHD_RequestTerminationCode
    ) {
        if mark.pointee == Mark.scrape {
            scrapesUnderWay -= 1
        } else if let pointer = mark.pointee, !Mark.isPlain(pointer) {
            let suspension = Unmanaged<Suspension>.fromOpaque(pointer).takeRetainedValue()
            suspended[ObjectIdentifier(suspension)] = nil
            suspension.cancel()
        }
        mark.pointee = nil
        guard let state = state(of: connection) else { return }
        silent.append(state, at: passStart)
        if let access, !access.isCurrent(state) { return state.hangUp() }
        // The library overlooks an end of the stream that comes together with the request.
        if reason == .REQUEST_TERMINATED_COMPLETED_OK { state.noticeEnd() }
    }

    func isServed(_ method: UnsafePointer<CChar>) -> Bool {
        strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0
    }

    func hasBody(_ connection: OpaquePointer) -> Bool {
        if header("Transfer-Encoding", of: connection) != nil { return true }
        guard let length = header("Content-Length", of: connection) else { return false }
        return strcmp(length, "0") != 0
    }

    func header(_ name: String, of connection: OpaquePointer) -> UnsafePointer<CChar>? {
        MHD_lookup_connection_value(connection, .HEADER_KIND, name)
    }

    func serve(
        _ connection: OpaquePointer, _ route: Route, _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        switch route {
        case .index, .status: serveStatus(connection, route, mark)
        case .unknown: answer(connection, .other, .notFound)
        case .metrics: serveMetrics(connection, mark)
        case .health(let level, let endpointName, let check):
            serveHealth(connection, level, endpointName, check, mark)
        }
    }
}

extension EndpointServer {
    // MARK: Who is let in

    /// Takes up a new version of the web config file.
    func refreshAccess() {
        guard let access, access.refresh() else { return }
        if !makeFixedResponses() { logger.error("out of memory for the endpoint's responses") }
        // Their headers may be other ones now.
        status.forget()
        do {
            try openDaemon()
        } catch {
            logger.error(
                "failed to apply web config file", metadata: ["reason": "\(error)"])
        }
        // Those who came in under other rules have to come again; who is being answered just now, after that.
        var connection = silent.head
        while let present = connection {
            connection = present.next
            if !access.isCurrent(present) { present.hangUp() }
        }
    }

    /// Looks whether a request may be answered.
    ///
    /// - Returns: `nil` if so; what has become of it otherwise.
    func admit(
        _ connection: OpaquePointer, _ route: Route, _ access: AccessControl,
        _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result? {
        refreshAccess()
        guard let state = state(of: connection) else { return .NO }
        let decision = access.decide(
            route, from: state, authorization: header("Authorization", of: connection), at: .now)
        switch decision {
        case .granted: return nil
        case .outdated: return .NO
        case .refused(let response): return answer(connection, route.label, response)
        case .badCertificate(let certificate): return refuse(connection, route.label, certificate)
        case .login(let credentials):
            let asked = access.verifier.verify(credentials) {
                let login = PendingLogin(connection: connection)
                suspended[ObjectIdentifier(login)] = login
                mark.pointee = Unmanaged<Suspension>.passRetained(login).toOpaque()
                MHD_suspend_connection(connection)
                return login
            }
            switch asked {
            case .granted: return nil
            case .refused: return answer(connection, route.label, .unauthorized)
            case .busy: return answer(connection, route.label, .tooManyLogins)
            case .pending: return .YES
            }
        }
    }

    private func refuse(
        _ connection: OpaquePointer, _ label: RouteLabel, _ certificate: ClientCertificate
    ) -> MHD_Result {
        guard let made = OpaquePointer.response(certificate.refusal) else { return .NO }
        defer { MHD_destroy_response(made) }
        finish(made, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-cache")])
        return queue(connection, label, 403, made)
    }

    /// The outcome of a login is known.
    func resume(_ login: PendingLogin) {
        guard !isStopping, suspended.removeValue(forKey: ObjectIdentifier(login)) != nil else { return }
        MHD_resume_connection(login.connection)
        // The library takes notice of it in its next pass only.
        runPass()
    }

    /// Answers a request that had to wait for its password.
    func go(
        on login: PendingLogin, _ path: UnsafePointer<CChar>, _ method: UnsafePointer<CChar>,
        _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        let connection = login.connection
        let route = Route(path: String(cString: path))
        if let pointer = mark.pointee { Unmanaged<Suspension>.fromOpaque(pointer).release() }
        mark.pointee = Mark.seen
        guard let isGranted = login.isGranted else { return answer(connection, route.label, .stopping) }
        guard isGranted else { return answer(connection, route.label, .unauthorized) }
        guard isServed(method) else { return answer(connection, .other, .methodNotAllowed) }
        return serve(connection, route, mark)
    }
}

// What the library calls. They are functions of the file's level because C knows no others.

private func server(_ context: UnsafeMutableRawPointer?) -> EndpointServer? {
    context.map { Unmanaged<EndpointServer>.fromOpaque($0).takeUnretainedValue() }
}

func endpointHandleRequest(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?, _ path: UnsafePointer<CChar>?,
    _ method: UnsafePointer<CChar>?, _ version: UnsafePointer<CChar>?, _ body: UnsafePointer<CChar>?,
    _ bodySize: UnsafeMutablePointer<Int>?, _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> MHD_Result {
    guard let server = server(context), let connection, let path, let method, let bodySize, let mark else { return .NO }
    return server.handle(connection, path: path, method: method, bodySize: bodySize, mark: mark)
}

func endpointCompletedRequest(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?,
    _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ reason: MHD_RequestTerminationCode
) {
    guard let server = server(context), let connection, let mark else { return }
    server.completed(connection, mark: mark, reason: reason)
}

func endpointChangedConnection(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?,
    _ stored: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ change: MHD_ConnectionNotificationCode
) {
    guard let server = server(context), let connection, let stored else { return }
    if change == .CONNECTION_NOTIFY_STARTED {
        stored.pointee = Unmanaged.passRetained(server.connectionStarted(connection)).toOpaque()
    } else if let pointer = stored.pointee {
        stored.pointee = nil
        server.connectionEnded(Unmanaged<ConnectionState>.fromOpaque(pointer).takeRetainedValue())
    }
}

extension EndpointServer {
    // MARK: Accepting

    static let longestBatch = 64
    /// How long to wait when the system has no descriptor for a connection.
    static let shortagePause: Duration = .milliseconds(100)

    /// Accepts what waits. It is done here rather than by the library, which in want of descriptors would look for
    /// connections without pause, or, with some open, not look again.
    func acceptConnections() {
        guard !isStopping else { return }
        refreshAccess()
        guard let daemon = try? openDaemon() else { return }
        if connectionCount >= configuration.connectionLimit { makeRoom() }
        let room = configuration.connectionLimit - connectionCount
        if room <= 0 { return pauseAccepting() }
        passStart = MonotonicInstant.now.nanoseconds
        for _ in 0..<min(room, Self.longestBatch) {
            var address = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let isLast = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { accept(daemon.pointer, $0, &length) }
            }
            if isLast { break }
        }
        runPass()
    }

    /// Somebody waits for a connection and there are as many as allowed: the one that has been silent for longest
    /// has to go, so that idle clients cannot keep a probe out.
    func makeRoom() {
        // Those that have sent a request already do not count as silent.
        runPass()
        guard connectionCount >= configuration.connectionLimit else { return }
        evictLongestSilent()
        runPass()
    }

    /// Accepts one connection.
    ///
    /// - Returns: Whether there is no other one to be had now.
    func accept(
        _ daemon: OpaquePointer, _ address: UnsafeMutablePointer<sockaddr>, _ length: inout socklen_t
    ) -> Bool {
        let descriptor = cmicrohttpd_accept(socket.descriptor, address, &length)
        if descriptor >= 0 {
            // Should it fail, the library has closed the connection.
            _ = MHD_add_connection(daemon, descriptor, address, length)
            return false
        }
        switch errno {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM:
            // The kernel says so even if nobody waits.
            var waiting = pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, 0) > 0 else { return true }
            evictLongestSilent()
            pauseAccepting()
            isShortOfDescriptors = true
            loop.schedule(at: .now.advanced(by: Self.shortagePause)) { [weak self] in
                self?.isShortOfDescriptors = false
                self?.resumeAccepting()
            }
            return true
        case EAGAIN:
            return true
        default:
            // The client has given up meanwhile, for example.
            return false
        }
    }

    func pauseAccepting() {
        guard let listening else { return }
        loop.unwatch(listening)
        self.listening = nil
    }

    /// The descriptor is watched for its state, not for changes, so who waits is seen.
    func resumeAccepting() {
        guard !isStopping, listening == nil, !isShortOfDescriptors,
            connectionCount < configuration.connectionLimit || silent.head != nil
        else { return }
        listening = try? loop.watch(socket.descriptor, for: .readable) { [self] _ in acceptConnections() }
    }

    /// Ends the connections whose time is over, and sees to the timer for the next.
    func expire() {
        let now = MonotonicInstant.now
        let idle = end(silent, after: configuration.idleTimeout, at: now, .idle)
        let slow = end(answering, after: configuration.responseTimeout, at: now, .slowReader)
        let deadline = min(idle, slow)
        // A timer that fires too early does no harm; so each request moves none.
        guard deadline < timer?.deadline ?? .max else { return }
        if let timer { loop.cancel(timer.action) }
        let action = loop.schedule(at: MonotonicInstant(nanoseconds: deadline)) { [self] in
            timer = nil
            expire()
        }
        timer = (action, deadline)
    }

    func end(
        _ list: ConnectionList, after limit: Duration, at now: MonotonicInstant, _ closing: EndpointMetrics.Closing
    ) -> Int64 {
        while let connection = list.head {
            let deadline = MonotonicInstant(nanoseconds: connection.since).advanced(by: limit)
            guard deadline <= now else { return deadline.nanoseconds }
            connection.leave()
            connection.hangUp()
            metrics?.countClosing(closing)
        }
        return .max
    }

    // MARK: Connections

    func connectionStarted(_ connection: OpaquePointer) -> ConnectionState {
        let state = ConnectionState(descriptor: cmicrohttpd_connection_descriptor(connection))
        if let access, let session = cmicrohttpd_tls_session(connection) { access.prepare(state, session) }
        connectionCount += 1
        silent.append(state, at: passStart)
        return state
    }

    func evictLongestSilent() {
        guard let longest = silent.head else { return }
        longest.leave()
        longest.hangUp()
        metrics?.countClosing(.evicted)
    }

    func connectionEnded(_ state: ConnectionState) {
        state.leave()
        connectionCount -= 1
        isShortOfDescriptors = false
    }

    func state(of connection: OpaquePointer) -> ConnectionState? {
        cmicrohttpd_socket_context(connection).map {
            Unmanaged<ConnectionState>.fromOpaque($0).takeUnretainedValue()
        }
    }
}

extension EndpointServer {
    // MARK: Health

    func serveHealth(
        _ connection: OpaquePointer, _ level: HealthLevel, _ endpointName: String, _ check: String?,
        _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        let query = Query(connection)
        guard !query.isExcessive else {
            return answer(connection, Route.label(of: level), .tooManyExclusions)
        }
        let negotiation =
            header("Accept", of: connection).map {
                acceptedHealth.value(of: $0) { HealthNegotiation(accept: $0) }
            } ?? .text
        let request = SuspendedRequest(
            connection: connection, endpointName: endpointName, query: query, negotiation: negotiation)
        let evaluation = health.evaluate(
            level, excluding: check == nil ? query.excluded : [], only: check, on: loop
        ) { [loop, weak self] report in
            if loop.isCurrent, request.isBeingAsked {
                request.report = report
            } else {
                loop.submit { [weak self] in self?.resume(request, with: report) }
            }
        }
        request.isBeingAsked = false
        if let report = request.report { return answer(request, with: report) }
        request.evaluation = evaluation
        suspended[ObjectIdentifier(request)] = request
        mark.pointee = Unmanaged<Suspension>.passRetained(request).toOpaque()
        MHD_suspend_connection(connection)
        return .YES
    }

    func resume(_ request: SuspendedRequest, with report: HealthReport) {
        guard suspended.removeValue(forKey: ObjectIdentifier(request)) != nil else { return }
        request.report = report
        request.evaluation = nil
        MHD_resume_connection(request.connection)
        // The library takes notice of it in its next pass only.
        runPass()
    }

    func answer(_ request: SuspendedRequest, with report: HealthReport) -> MHD_Result {
        let label = Route.label(of: report.level)
        guard !report.entries.isEmpty else { return answer(request.connection, label, .notFound) }
        metrics?.record(report)
        let isVerbose = request.query.isVerbose
        if report.isPassing, !isVerbose, request.negotiation == .text {
            return answer(request.connection, label, .healthy)
        }
        let made = OpaquePointer.response(
            request.negotiation == .text
                ? report.text(isVerbose: isVerbose, endpointName: request.endpointName)
                : report.json(isVerbose: isVerbose, now: health.now))
        guard let made else { return .NO }
        defer { MHD_destroy_response(made) }
        finish(
            made,
            [("Content-Type", request.negotiation.contentType), ("Vary", "Accept"), ("Cache-Control", "no-cache")])
        return queue(request.connection, label, report.isPassing ? 200 : 503, made)
    }
}

extension EndpointServer {
    // MARK: Responses

    func make(_ response: FixedResponse) -> OpaquePointer? {
        guard let made = OpaquePointer.response(response.body(configuration)) else { return nil }
        finish(made, response.headers)
        return made
    }

    /// Makes the responses that are the same each time, anew if they are there.
    ///
    /// - Returns: Whether there was memory for them; otherwise the old ones are kept.
    func makeFixedResponses() -> Bool {
        let made = FixedResponse.allCases.compactMap { make($0) }
        guard made.count == FixedResponse.allCases.count else {
            for response in made { MHD_destroy_response(response) }
            return false
        }
        dropFixedResponses()
        fixed = made
        return true
    }

    func dropFixedResponses() {
        // The library keeps those that it still sends.
        for response in fixed { MHD_destroy_response(response) }
        fixed = []
    }

    /// Adds a response's own headers, and those that all responses have. One that the web config file sets takes the
    /// place of the response's own.
    func finish(_ response: OpaquePointer, _ headers: [(name: String, value: String)]) {
        let replacing = access?.config.headers ?? []
        for (name, value) in headers + Self.commonHeaders
        where !replacing.contains(where: { $0.name.lowercased() == name.lowercased() }) {
            response.add(name, value)
        }
        for header in replacing { response.add(header.name, header.value) }
    }

    private static let commonHeaders = [(name: "X-Content-Type-Options", value: "nosniff")]

    func answer(_ connection: OpaquePointer, _ route: RouteLabel, _ response: FixedResponse) -> MHD_Result {
        queue(connection, route, response.status, fixed[response.rawValue])
    }

    func queue(
        _ connection: OpaquePointer, _ route: RouteLabel, _ status: Int, _ response: OpaquePointer
    ) -> MHD_Result {
        metrics?.countRequest(route, status)
        return MHD_queue_response(connection, UInt32(status), response)
    }
}

extension EndpointServer {
    // MARK: Metrics

    func serveMetrics(
        _ connection: OpaquePointer, _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        guard scrapesUnderWay < configuration.concurrentScrapeLimit else {
            return answer(connection, .metrics, .tooManyScrapes)
        }
        let negotiation =
            header("Accept", of: connection).map {
                acceptedMetrics.value(of: $0) { MetricsNegotiation(accept: $0) }
            } ?? .fallback
        let isCompressed =
            scrapes.canCompress
            && header("Accept-Encoding", of: connection).map {
                acceptedCodings.value(of: $0) { CodingNegotiation.prefersGzip($0) }
            } ?? false
        let response = scrapes.response(
            for: negotiation, Query(connection).names, isCompressed: isCompressed, finish: finish)
        guard let response else { return .NO }
        // The history gets its point once the scrape has its answer.
        if status.isPointDue { loop.submit { [self] in status.takePoint() } }
        let result = queue(connection, .metrics, 200, response)
        if result == .YES {
            scrapesUnderWay += 1
            mark.pointee = Mark.scrape
        }
        return result
    }
}

extension EndpointServer {
    // MARK: Status

    /// Pages count as scrapes, so that clients that read slowly cannot make them fill the memory.
    func serveStatus(
        _ connection: OpaquePointer, _ route: Route, _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        guard scrapesUnderWay < configuration.concurrentScrapeLimit else {
            return answer(connection, route.label, .tooManyScrapes)
        }
        let accept = header("Accept", of: connection)
        let format =
            route == .status ? .json : accept.map { acceptedPages.value(of: $0) { StatusFormat(accept: $0) } } ?? .html
        guard let response = status.response(format, finish: finish) else {
            return answer(connection, route.label, .noStatus)
        }
        let result = queue(connection, route.label, 200, response)
        if result == .YES {
            scrapesUnderWay += 1
            mark.pointee = Mark.scrape
        }
        return result
    }
}

/// A request for health that waits for checks.
///
/// Sound as `@unchecked Sendable` for the reason that its superclass is.
final class SuspendedRequest: Suspension, @unchecked Sendable {
    let endpointName: String
    let query: Query
    let negotiation: HealthNegotiation
    /// Whether the registry is being asked just now, so that it can answer at once.
    var isBeingAsked = true
    var report: HealthReport?
    var evaluation: HealthEvaluation?

    init(connection: OpaquePointer, endpointName: String, query: Query, negotiation: HealthNegotiation) {
        self.endpointName = endpointName
        self.query = query
        self.negotiation = negotiation
        super.init(connection: connection)
    }

    override func cancel() {
        evaluation?.cancel()
    }
}

/// A request whose connection is suspended until something is known.
///
/// Sound as `@unchecked Sendable`: it is made, read and written on the endpoint's thread only; others merely carry
/// it back there.
class Suspension: @unchecked Sendable {
    let connection: OpaquePointer

    init(connection: OpaquePointer) {
        self.connection = connection
    }

    /// Says that nobody waits any more.
    func cancel() {}
}
