// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import MusterHTTP
import MusterHealth
import MusterPlatform

/// One run of the endpoint: its routes, over an HTTP server of its own.
///
/// Sound as `@unchecked Sendable`: after ``start(whenDone:)`` everything is touched on the server's thread only.
final class EndpointServer: HTTPHandler, @unchecked Sendable {
    static let threadName = "muster-http"
    /// A client that reads its scrape for longer loses it to another one when there are as many as allowed.
    private static let readingPatience: Duration = .milliseconds(250)

    let http: HTTPTransport
    private let configuration: EndpointConfiguration
    private let health: HealthRegistry
    private let board: StatusBoard
    private var status: StatusResponses?
    private var scrapes: ScrapeResponses?
    private let metrics: EndpointMetrics?
    /// `nil` when every request is answered.
    private let access: AccessControl?
    /// Whether somebody has asked for metrics in this pass.
    private var isScraped = false
    /// Whether a look at a change of the web config file is scheduled.
    private var isRefreshPending = false
    private let logger: Logger
    /// When too many connections are told of again.
    private var nextWarning = MonotonicInstant(nanoseconds: 0)

    /// By the raw values of ``FixedResponse``.
    private var fixed: [TransportResponse] = []
    private var acceptedMetrics = HeaderMemo<MetricsNegotiation>()
    private var acceptedHealth = HeaderMemo<HealthNegotiation>()
    private var acceptedCodings = HeaderMemo<Bool>()
    private var acceptedPages = HeaderMemo<StatusFormat>()

    /// - Parameter socket: Closed by the server's end; still the caller's when this throws.
    init(
        configuration: EndpointConfiguration, socket: ListeningSocket, renderer: any MetricsRenderer,
        health: HealthRegistry, status: StatusBoard, metrics: EndpointMetrics?, webConfig: WebConfigSource?,
        logger: Logger
    ) throws(EndpointError) {
        self.configuration = configuration
        self.health = health
        board = status
        self.metrics = metrics
        self.logger = logger
        let http: HTTPTransport
        do {
            http = try HTTPTransport(
                socket: socket, limits: configuration.limits, tls: webConfig?.current.credentials,
                admitsAllClients: configuration.opensProbes, threadName: Self.threadName)
        } catch {
            throw EndpointError(error)
        }
        self.http = http
        access = webConfig.map { source in
            AccessControl(
                source: source, verifier: PasswordVerifier(loop: http.loop, check: configuration.passwordCheck),
                opensProbes: configuration.opensProbes, logger: logger, metrics: metrics)
        }
        let scrapes = ScrapeResponses(
            renderer: renderer, loop: http.loop, metrics: metrics, compressionLevel: configuration.compressionLevel
        ) { [weak self] in self?.complete($0) ?? $0 }
        self.scrapes = scrapes
        self.status = StatusResponses(board, beside: scrapes, loop: http.loop) { [weak self] in self?.complete($0) ?? $0
        }
        guard makeFixedResponses() else {
            throw .noResources(SystemError("MHD_create_response_from_buffer", code: ENOMEM))
        }
    }

    /// Starts to listen, on a thread of its own, which calls `whenDone` when it ends.
    func start(whenDone: @escaping @Sendable () -> Void) throws(EndpointError) {
        access?.verifier.resume = { [weak self] suspension, isGranted in
            self?.http.resume([suspension]) { [weak self] request in
                self?.answer(request, isGranted: isGranted) ?? .disconnect
            }
        }
        scrapes?.respond = { [weak self] requests, response in
            self?.http.resume(requests) { [weak self] _ in
                self?.reply(.metrics, response, isBulk: true) ?? .disconnect
            }
        }
        status?.respond = { [weak self] requests, response in
            self?.http.resume(requests) { [weak self] request in
                self?.replyStatus(Route(path: request.path), response) ?? .disconnect
            }
        }
        do {
            try http.start(self, whenDone: whenDone)
        } catch {
            throw EndpointError(error)
        }
    }

    // MARK: Requests

    func respond(to request: TransportRequest) -> HTTPReply {
        if request.isMalformed { return reply(.other, .badRequest) }
        if request.hasBody { return reply(.other, request.isRead ? .bodyRefused : .methodNotAllowed) }
        let route = Route(path: request.path)
        if request.connection.isReserved, !route.isProbe { return reply(route.label, .tooManyConnections) }
        if let access, let refusal = refusal(of: request, route, by: access) { return refusal }
        return serve(request, route)
    }

    func respond(stopping request: TransportRequest) -> HTTPReply {
        reply(Route(path: request.path).label, .stopping)
    }

    func didRefuse(_ status: Int) {
        metrics?.countRequest(.other, status)
    }

    func didFinishPass() {
        scrapes?.endPass()
        guard isScraped else { return }
        isScraped = false
        // The history gets its point once the scrape is under way, and behind it.
        if board.isPointDue { http.loop.submit { [self] in status?.takePoint() } }
    }

    func didChangeConnections(_ count: Int) {}

    func didClose(_ reason: HTTPTransport.ClosingReason) {
        metrics?.countClosing(reason)
        guard reason == .evicted || reason == .refused, MonotonicInstant.now >= nextWarning else { return }
        nextWarning = .now.advanced(by: .seconds(10))
        logger.warning(
            reason == .evicted
                ? "too many connections to the endpoint; closing the one that has been silent for longest"
                : "too many connections to the endpoint; refusing a new one",
            metadata: [
                "limit": "\(configuration.connectionLimit)",
                "limit_per_address": "\(configuration.perAddressConnectionLimit)", "reason": "\(reason.rawValue)",
            ])
    }

    private func serve(_ request: TransportRequest, _ route: Route) -> HTTPReply {
        guard request.isRead else { return reply(.other, .methodNotAllowed) }
        return switch route {
        case .index, .status: serveStatus(request, route)
        case .unknown: reply(.other, .notFound)
        case .metrics: serveMetrics(request)
        case .health(let level, let endpointName, let check): serveHealth(request, level, endpointName, check)
        }
    }

    // MARK: Access

    func willAccept() {
        refreshAccess()
    }

    /// Applies a new version of the web config file.
    private func refreshAccess() {
        guard let access else { return }
        switch access.refresh() {
        case .none: return
        case .pending(let wait):
            guard !isRefreshPending else { return }
            isRefreshPending = true
            // Nobody may ask for a long time.
            http.loop.schedule(at: .now.advanced(by: wait + .milliseconds(1))) { [weak self] in
                self?.isRefreshPending = false
                self?.refreshAccess()
            }
            return
        case .newVersion: break
        }
        if !makeFixedResponses() { logger.error("out of memory for the endpoint's responses") }
        // Their headers may be other ones now.
        status?.removeAll()
        do {
            try http.setTLS(access.credentials)
        } catch {
            logger.error("failed to apply web config file", metadata: ["reason": "\(error)"])
        }
    }

    /// Decides whether a request is answered: `nil` if so, else what becomes of it.
    private func refusal(of request: TransportRequest, _ route: Route, by access: AccessControl) -> HTTPReply? {
        refreshAccess()
        guard http.isCurrent(request.connection) else { return .disconnect }
        switch access.decide(
            route, certificate: request.connection.certificate, authorization: request.header("Authorization"),
            at: .now)
        {
        case .granted: return nil
        case .refused(let response): return reply(route.label, response)
        case .badCertificate(let certificate):
            let headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-cache")]
            return reply(
                route.label,
                TransportResponse(status: 403, headers: complete(headers), body: Array(certificate.refusal.utf8)))
        case .login(let credentials):
            switch access.verifier.verify(credentials, { http.suspend(request) }) {
            case .granted: return nil
            case .refused: return reply(route.label, .unauthorized)
            case .busy: return reply(route.label, .tooManyLogins)
            case .pending: return .suspended
            }
        }
    }

    /// Answers a request that had to wait for its password.
    private func answer(_ request: TransportRequest, isGranted: Bool) -> HTTPReply {
        let route = Route(path: request.path)
        return isGranted ? serve(request, route) : reply(route.label, .unauthorized)
    }

    // MARK: Health

    /// A request for health that may have to wait for checks.
    ///
    /// Sound as `@unchecked Sendable`: it is read and written on the server's thread only; others merely carry it back
    /// there.
    private final class HealthRequest: @unchecked Sendable {
        let endpointName: String
        let isVerbose: Bool
        let negotiation: HealthNegotiation
        /// Set while the registry may still answer at once.
        var isEvaluating = true
        var report: HealthReport?
        var suspension: HTTPSuspension?

        init(endpointName: String, isVerbose: Bool, negotiation: HealthNegotiation) {
            self.endpointName = endpointName
            self.isVerbose = isVerbose
            self.negotiation = negotiation
        }
    }

    private func serveHealth(
        _ request: TransportRequest, _ level: HealthLevel, _ endpointName: String, _ check: String?
    ) -> HTTPReply {
        let query = Query(request)
        guard !query.isExcessive else { return reply(Route.label(of: level), .tooManyExclusions) }
        let negotiation =
            request.header("Accept").map {
                acceptedHealth.value(of: $0) { HealthNegotiation(accept: $0) }
            } ?? .text
        let pending = HealthRequest(
            endpointName: endpointName, isVerbose: query.isVerbose, negotiation: negotiation)
        let evaluation = health.evaluate(
            level, excluding: check == nil ? query.excluded : [], only: check, on: http.loop
        ) { [loop = http.loop, weak self] report in
            if loop.isCurrent, pending.isEvaluating {
                pending.report = report
            } else {
                loop.submit { [weak self] in self?.finish(pending, with: report) }
            }
        }
        pending.isEvaluating = false
        if let report = pending.report { return answer(pending, with: report) }
        pending.suspension = http.suspend(request)
        pending.suspension?.onCancel = { evaluation?.cancel() }
        return .suspended
    }

    private func finish(_ pending: HealthRequest, with report: HealthReport) {
        guard let suspension = pending.suspension else { return }
        http.resume([suspension]) { [weak self] _ in self?.answer(pending, with: report) ?? .disconnect }
    }

    private func answer(_ request: HealthRequest, with report: HealthReport) -> HTTPReply {
        let label = Route.label(of: report.level)
        guard !report.entries.isEmpty else { return reply(label, .notFound) }
        metrics?.record(report)
        if report.isPassing, !request.isVerbose, request.negotiation == .text { return reply(label, .healthy) }
        let body =
            request.negotiation == .text
            ? report.text(isVerbose: request.isVerbose, endpointName: request.endpointName)
            : report.json(isVerbose: request.isVerbose, now: health.now)
        let headers = [
            ("Content-Type", request.negotiation.contentType), ("Vary", "Accept"), ("Cache-Control", "no-cache"),
        ]
        return reply(
            label,
            TransportResponse(
                status: report.isPassing ? 200 : 503, headers: complete(headers), body: Array(body.utf8)))
    }

    // MARK: Metrics and status

    private func serveMetrics(_ request: TransportRequest) -> HTTPReply {
        guard let scrapes, hasScrapeSlot else { return reply(.metrics, .tooManyScrapes) }
        let negotiation =
            request.header("Accept").map {
                acceptedMetrics.value(of: $0) { MetricsNegotiation(accept: $0) }
            } ?? .fallback
        let isCompressed =
            scrapes.canCompress
            && request.header("Accept-Encoding").map {
                acceptedCodings.value(of: $0) { CodingNegotiation.prefersGzip($0) }
            } ?? false
        let order = ScrapeResponses.Order(
            negotiation: negotiation, names: Query(request).names, isCompressed: isCompressed)
        isScraped = true
        if let response = scrapes.shortResponse(to: order) { return reply(.metrics, response, isBulk: true) }
        scrapes.add(http.suspend(request), for: order)
        return .suspended
    }

    /// Whether another scrape may be under way. When there are as many as allowed, one that is being read slowly makes
    /// room.
    private var hasScrapeSlot: Bool {
        http.bulkResponseCount + (scrapes?.waitingCount ?? 0) + (status?.waitingCount ?? 0)
            < configuration.concurrentScrapeLimit
            || http.displaceBulkResponse(olderThan: Self.readingPatience)
    }

    /// Pages count as scrapes, so that clients that read slowly cannot make them fill the memory.
    private func serveStatus(_ request: TransportRequest, _ route: Route) -> HTTPReply {
        guard let status, hasScrapeSlot else { return reply(route.label, .tooManyScrapes) }
        let format =
            route == .status
            ? .json
            : request.header("Accept").map { acceptedPages.value(of: $0) { StatusFormat(accept: $0) } } ?? .html
        switch status.answer(format) {
        case .now(let response): return replyStatus(route, response)
        case .later:
            status.add(http.suspend(request), for: format)
            return .suspended
        }
    }

    private func replyStatus(_ route: Route, _ response: TransportResponse?) -> HTTPReply {
        guard let response else { return reply(route.label, .noStatus) }
        return reply(route.label, response, isBulk: true)
    }

    // MARK: Responses

    /// Makes the responses that are the same each time. Returns whether there was memory for them; otherwise the old
    /// ones are kept.
    private func makeFixedResponses() -> Bool {
        let made = FixedResponse.allCases.compactMap { response in
            TransportResponse(
                status: response.status, headers: complete(response.headers),
                body: Array(response.body(configuration).utf8))
        }
        guard made.count == FixedResponse.allCases.count else { return false }
        fixed = made
        return true
    }

    /// A response's own headers, and those that all responses have. One that the web config file sets replaces the
    /// response's own.
    private func complete(_ headers: [(name: String, value: String)]) -> [(name: String, value: String)] {
        let replacing = access?.config.headers ?? []
        let own = headers + [(name: "X-Content-Type-Options", value: "nosniff")]
        return own.filter { header in
            !replacing.contains { $0.name.lowercased() == header.name.lowercased() }
        } + replacing.map { ($0.name, $0.value) }
    }

    private func reply(_ label: RouteLabel, _ response: FixedResponse) -> HTTPReply {
        reply(label, fixed[response.rawValue])
    }

    /// A response that is counted; without one, for want of memory, the connection ends.
    private func reply(_ label: RouteLabel, _ response: TransportResponse?, isBulk: Bool = false) -> HTTPReply {
        guard let response else { return .disconnect }
        metrics?.countRequest(label, response.status)
        return .response(response, isBulk: isBulk)
    }
}
