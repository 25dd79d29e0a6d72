// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc
import Logging
import MusterMetrics
import MusterPlatform

/// One run of the endpoint: the HTTP daemon, driven by an event loop of its own.
///
/// Sound as `@unchecked Sendable`: after `start` everything is touched on the loop's thread only.
final class EndpointServer: @unchecked Sendable {
    /// What the library keeps for a request between two calls; a pointer to a ``SuspendedRequest`` otherwise.
    private enum Mark {
        static var seen: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 1) }
        static var scrape: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 2) }

        static func isPlain(_ pointer: UnsafeMutableRawPointer?) -> Bool {
            pointer == nil || pointer == seen || pointer == scrape
        }
    }

    private struct Rendering {
        var format: ExpositionFormat
        var names: Set<String>
    }

    private struct Scrape {
        var negotiation: MetricsNegotiation
        var names: Set<String>
        var isCompressed: Bool
        var response: OpaquePointer
    }

    static let loopName = "muster-http"

    let loop: EventLoop
    private let configuration: EndpointConfiguration
    private let renderer: any MetricsRenderer
    private let health: HealthRegistry
    private let metrics: EndpointMetrics?
    private let socket: ListeningSocket

    private var daemon: OpaquePointer?
    private var watch: EventLoop.Watch?
    /// `nil` while no more connections are accepted.
    private var listening: EventLoop.Watch?
    private var isShortOfDescriptors = false
    private var timer: (action: EventLoop.ScheduledAction, deadline: Int64)?
    private var isStopping = false
    private var isRunning = false

    private let silent = ConnectionList()
    private let answering = ConnectionList()
    private var connectionCount = 0
    private var scrapesUnderWay = 0
    private var suspended: [ObjectIdentifier: SuspendedRequest] = [:]

    private var fixed: [OpaquePointer] = []
    private var acceptedMetrics = HeaderMemo<MetricsNegotiation>()
    private var acceptedHealth = HeaderMemo<HealthNegotiation>()
    private var acceptedCodings = HeaderMemo<Bool>()

    /// What has been rendered in the present pass, and the responses made of it.
    private var rendering: Rendering?
    private var buffer: [UInt8] = []
    private var scrapes: [Scrape] = []
    private let pool = BodyPool()
    private let compressor: GzipCompressor?

    /// When the present pass began, in monotonic nanoseconds.
    private var passStart: Int64 = 0

    init(
        configuration: EndpointConfiguration, socket: ListeningSocket, renderer: any MetricsRenderer,
        health: HealthRegistry, metrics: EndpointMetrics?
    ) throws(EndpointError) {
        self.configuration = configuration
        self.socket = socket
        self.renderer = renderer
        self.health = health
        self.metrics = metrics
        do {
            loop = try EventLoop(name: Self.loopName, parking: .descriptors)
        } catch {
            throw .noResources(error)
        }
        compressor =
            configuration.compressionLevel > 0 ? GzipCompressor(level: Int32(configuration.compressionLevel)) : nil
    }

    // MARK: Starting and stopping

    /// Starts to listen, on a thread of its own.
    ///
    /// - Parameter whenDone: Called on that thread when it ends.
    func start(whenDone: @escaping @Sendable () -> Void) throws(EndpointError) {
        if let problem = cmicrohttpd_load() {
            tearDown()
            throw .noLibrary(reason: String(cString: problem))
        }
        for response in FixedResponse.allCases {
            guard let made = make(response) else {
                tearDown()
                throw .noResources(SystemError("MHD_create_response_from_buffer", code: ENOMEM))
            }
            fixed.append(made)
        }
        daemon = cmicrohttpd_start(
            UInt32(configuration.connectionLimit), UInt32(configuration.perAddressConnectionLimit),
            configuration.requestSizeLimit, handleRequest, requestCompleted, connectionChanged,
            Unmanaged.passUnretained(self).toOpaque())
        guard let daemon else {
            let error = SystemError("MHD_start_daemon")
            tearDown()
            throw .noResources(error)
        }
        do {
            watch = try loop.watch(cmicrohttpd_epoll_descriptor(daemon), for: .readable) { [self] _ in runPass() }
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

    /// Ends everything, and the loop's thread with it. To be called on the loop's thread.
    func stop() {
        guard !isStopping else { return }
        isStopping = true
        for request in suspended.values {
            request.evaluation?.cancel()
            MHD_resume_connection(request.connection)
        }
        suspended = [:]
        // Hands the refusals to the clients that have been waiting.
        if let daemon { MHD_run(daemon) }
        tearDown()
        loop.stop()
    }

    private func tearDown() {
        if let timer { loop.cancel(timer.action) }
        timer = nil
        if let watch { loop.unwatch(watch) }
        watch = nil
        pauseAccepting()
        socket.unlinkFile()
        socket.closeDescriptor()
        if let daemon { MHD_stop_daemon(daemon) }
        daemon = nil
        endScrapes()
        for response in fixed { MHD_destroy_response(response) }
        fixed = []
        pool.empty()
    }

    // MARK: The loop

    private func runPass() {
        guard !isRunning, !isStopping, let daemon else { return }
        isRunning = true
        defer { isRunning = false }
        var isUnfinished = true
        for _ in 0..<4 where isUnfinished {
            passStart = MonotonicInstant.now.nanoseconds
            MHD_run(daemon)
            endScrapes()
            var timeout: UInt64 = 0
            isUnfinished = MHD_get_timeout(daemon, &timeout) == .YES && timeout == 0
        }
        if isUnfinished { loop.submit { [self] in runPass() } }
        resumeAccepting()
        expire()
    }

    // MARK: Accepting

    private static let longestBatch = 64
    /// How long to wait when the system has no descriptor for a connection.
    private static let shortagePause: Duration = .milliseconds(100)

    /// Accepts what waits. It is done here rather than by the library, which in want of descriptors would look for
    /// connections without pause, or, with some open, not look again.
    private func acceptConnections() {
        guard !isStopping, let daemon else { return }
        if connectionCount >= configuration.connectionLimit { makeRoom() }
        let room = configuration.connectionLimit - connectionCount
        if room <= 0 { return pauseAccepting() }
        passStart = MonotonicInstant.now.nanoseconds
        for _ in 0..<min(room, Self.longestBatch) {
            var address = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let isLast = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { accept(daemon, $0, &length) }
            }
            if isLast { break }
        }
        runPass()
    }

    /// Somebody waits for a connection and there are as many as allowed: the one that has been silent for longest
    /// has to go, so that idle clients cannot keep a probe out.
    private func makeRoom() {
        // Those that have sent a request already do not count as silent.
        runPass()
        guard connectionCount >= configuration.connectionLimit else { return }
        evictLongestSilent()
        runPass()
    }

    /// Accepts one connection.
    ///
    /// - Returns: Whether there is no other one to be had now.
    private func accept(
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

    private func pauseAccepting() {
        guard let listening else { return }
        loop.unwatch(listening)
        self.listening = nil
    }

    /// The descriptor is watched for its state, not for changes, so who waits is seen.
    private func resumeAccepting() {
        guard !isStopping, listening == nil, !isShortOfDescriptors,
            connectionCount < configuration.connectionLimit || silent.head != nil
        else { return }
        listening = try? loop.watch(socket.descriptor, for: .readable) { [self] _ in acceptConnections() }
    }

    /// Ends the connections whose time is over, and sees to the timer for the next.
    private func expire() {
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

    private func end(
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

    fileprivate func connectionStarted(_ connection: OpaquePointer) -> ConnectionState {
        let state = ConnectionState(descriptor: cmicrohttpd_connection_descriptor(connection))
        connectionCount += 1
        silent.append(state, at: passStart)
        return state
    }

    private func evictLongestSilent() {
        guard let longest = silent.head else { return }
        longest.leave()
        longest.hangUp()
        metrics?.countClosing(.evicted)
    }

    fileprivate func connectionEnded(_ state: ConnectionState) {
        state.leave()
        connectionCount -= 1
        isShortOfDescriptors = false
    }

    private func state(of connection: OpaquePointer) -> ConnectionState? {
        cmicrohttpd_socket_context(connection).map {
            Unmanaged<ConnectionState>.fromOpaque($0).takeUnretainedValue()
        }
    }

    // MARK: Requests

    fileprivate func handle(
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
            guard isServed(method) else { return answer(connection, RouteLabel.other, .methodNotAllowed) }
            return serve(connection, Route(path: String(cString: path)), mark)
        case .some(let pointer):
            let request = Unmanaged<SuspendedRequest>.fromOpaque(pointer).takeUnretainedValue()
            guard let report = request.report else { return answer(connection, RouteLabel.other, .stopping) }
            return answer(request, with: report)
        }
    }

    fileprivate func completed(
        _ connection: OpaquePointer, mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>,
        reason: MHD_RequestTerminationCode
    ) {
        if mark.pointee == Mark.scrape {
            scrapesUnderWay -= 1
        } else if let pointer = mark.pointee, !Mark.isPlain(pointer) {
            let request = Unmanaged<SuspendedRequest>.fromOpaque(pointer).takeRetainedValue()
            suspended[ObjectIdentifier(request)] = nil
            request.evaluation?.cancel()
        }
        mark.pointee = nil
        guard let state = state(of: connection) else { return }
        silent.append(state, at: passStart)
        // The library overlooks an end of the stream that comes together with the request.
        if reason == .REQUEST_TERMINATED_COMPLETED_OK { state.noticeEnd() }
    }

    private func isServed(_ method: UnsafePointer<CChar>) -> Bool {
        strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0
    }

    private func hasBody(_ connection: OpaquePointer) -> Bool {
        if header("Transfer-Encoding", of: connection) != nil { return true }
        guard let length = header("Content-Length", of: connection) else { return false }
        return strcmp(length, "0") != 0
    }

    private func header(_ name: String, of connection: OpaquePointer) -> UnsafePointer<CChar>? {
        MHD_lookup_connection_value(connection, .HEADER_KIND, name)
    }

    private func serve(
        _ connection: OpaquePointer, _ route: Route, _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        switch route {
        case .index: answer(connection, .index, .index)
        case .unknown: answer(connection, .other, .notFound)
        case .metrics: serveMetrics(connection, mark)
        case .health(let level, let endpointName, let check):
            serveHealth(connection, level, endpointName, check, mark)
        }
    }

    // MARK: Metrics

    private func serveMetrics(
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
            compressor != nil
            && header("Accept-Encoding", of: connection).map {
                acceptedCodings.value(of: $0) { CodingNegotiation.prefersGzip($0) }
            } ?? false
        let names = Query(connection).names
        guard let response = response(for: negotiation, names, isCompressed: isCompressed) else { return .NO }
        let result = queue(connection, .metrics, 200, response)
        if result == .YES {
            scrapesUnderWay += 1
            mark.pointee = Mark.scrape
        }
        return result
    }

    /// The response to a scrape. Requests that one pass of the loop finds share it: all of them had begun to arrive
    /// when it was rendered.
    private func response(
        for negotiation: MetricsNegotiation, _ names: Set<String>, isCompressed: Bool
    ) -> OpaquePointer? {
        for scrape in scrapes
        where scrape.negotiation == negotiation && scrape.isCompressed == isCompressed && scrape.names == names {
            return scrape.response
        }
        if rendering?.format != negotiation.format || rendering?.names != names {
            let start = MonotonicInstant.now
            renderer.render(negotiation.format, names: names, into: &buffer)
            metrics?.noteScrape(start.duration(to: .now))
            rendering = Rendering(format: negotiation.format, names: names)
        }
        let storage = pool.make()
        let isFilled = buffer.withUnsafeBufferPointer { bytes in
            guard isCompressed, let compressor else {
                storage.fill(bytes)
                return true
            }
            return compressor.compress(bytes, into: storage)
        }
        guard isFilled else { return nil }
        let owner = Unmanaged.passRetained(storage)
        let made = MHD_create_response_from_buffer_with_free_callback_cls(
            storage.count, storage.pointer,
            { context in
                guard let context else { return }
                Unmanaged<BodyStorage>.fromOpaque(context).takeRetainedValue().giveBack()
            }, owner.toOpaque())
        guard let made else {
            owner.release()
            return nil
        }
        add("Content-Type", negotiation.contentType, to: made)
        add("Vary", "Accept, Accept-Encoding", to: made)
        add("Cache-Control", "no-cache", to: made)
        add("X-Content-Type-Options", "nosniff", to: made)
        if isCompressed { add("Content-Encoding", "gzip", to: made) }
        scrapes.append(
            Scrape(negotiation: negotiation, names: names, isCompressed: isCompressed, response: made))
        return made
    }

    /// Forgets what the pass has rendered; the library keeps what it still sends.
    private func endScrapes() {
        guard rendering != nil else { return }
        rendering = nil
        for scrape in scrapes { MHD_destroy_response(scrape.response) }
        scrapes.removeAll(keepingCapacity: true)
    }

    // MARK: Health

    private func serveHealth(
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
        mark.pointee = Unmanaged.passRetained(request).toOpaque()
        MHD_suspend_connection(connection)
        return .YES
    }

    private func resume(_ request: SuspendedRequest, with report: HealthReport) {
        guard suspended.removeValue(forKey: ObjectIdentifier(request)) != nil else { return }
        request.report = report
        request.evaluation = nil
        MHD_resume_connection(request.connection)
        // The library takes notice of it in its next pass only.
        runPass()
    }

    private func answer(_ request: SuspendedRequest, with report: HealthReport) -> MHD_Result {
        let label = Route.label(of: report.level)
        guard !report.entries.isEmpty else { return answer(request.connection, label, .notFound) }
        metrics?.note(report)
        let isVerbose = request.query.isVerbose
        if report.isPassing, !isVerbose, request.negotiation == .text {
            return answer(request.connection, label, .healthy)
        }
        var body =
            request.negotiation == .text
            ? report.text(isVerbose: isVerbose, endpointName: request.endpointName)
            : report.json(isVerbose: isVerbose, now: health.now)
        let made = body.withUTF8 { bytes in
            MHD_create_response_from_buffer(
                bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress), .RESPMEM_MUST_COPY)
        }
        guard let made else { return .NO }
        defer { MHD_destroy_response(made) }
        add("Content-Type", request.negotiation.contentType, to: made)
        add("Vary", "Accept", to: made)
        add("Cache-Control", "no-cache", to: made)
        add("X-Content-Type-Options", "nosniff", to: made)
        return queue(request.connection, label, report.isPassing ? 200 : 503, made)
    }

    // MARK: Responses

    private func make(_ response: FixedResponse) -> OpaquePointer? {
        var body = response.body(configuration)
        let made = body.withUTF8 { bytes in
            MHD_create_response_from_buffer(
                bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress), .RESPMEM_MUST_COPY)
        }
        guard let made else { return nil }
        for (name, value) in response.headers { add(name, value, to: made) }
        add("X-Content-Type-Options", "nosniff", to: made)
        return made
    }

    private func add(_ name: String, _ value: String, to response: OpaquePointer) {
        // It fails for want of memory only, and then the response goes without.
        _ = MHD_add_response_header(response, name, value)
    }

    private func answer(_ connection: OpaquePointer, _ route: RouteLabel, _ response: FixedResponse) -> MHD_Result {
        queue(connection, route, response.status, fixed[response.rawValue])
    }

    private func queue(
        _ connection: OpaquePointer, _ route: RouteLabel, _ status: Int, _ response: OpaquePointer
    ) -> MHD_Result {
        metrics?.countRequest(route, status)
        return MHD_queue_response(connection, UInt32(status), response)
    }
}

// MARK: The library's callbacks

private func server(_ context: UnsafeMutableRawPointer?) -> EndpointServer? {
    context.map { Unmanaged<EndpointServer>.fromOpaque($0).takeUnretainedValue() }
}

private func handleRequest(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?, _ path: UnsafePointer<CChar>?,
    _ method: UnsafePointer<CChar>?, _ version: UnsafePointer<CChar>?, _ body: UnsafePointer<CChar>?,
    _ bodySize: UnsafeMutablePointer<Int>?, _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> MHD_Result {
    guard let server = server(context), let connection, let path, let method, let bodySize, let mark else { return .NO }
    return server.handle(connection, path: path, method: method, bodySize: bodySize, mark: mark)
}

private func requestCompleted(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?,
    _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ reason: MHD_RequestTerminationCode
) {
    guard let server = server(context), let connection, let mark else { return }
    server.completed(connection, mark: mark, reason: reason)
}

private func connectionChanged(
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
