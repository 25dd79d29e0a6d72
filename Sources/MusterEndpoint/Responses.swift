// SPDX-License-Identifier: Apache-2.0

import CZlib
import MusterHTTP
import MusterHealth
import MusterMetrics
import MusterPlatform

/// The responses that are the same each time; they are built once.
enum FixedResponse: Int, CaseIterable {
    case healthy
    case notFound
    case methodNotAllowed
    case bodyRefused
    case tooManyExclusions
    case tooManyScrapes
    case noStatus
    case stopping
    case unauthorized
    case tooManyRequests
    case tooManyLogins
    case tooManyConnections
    case badRequest

    var status: Int {
        switch self {
        case .healthy: 200
        case .notFound: 404
        case .methodNotAllowed: 405
        case .bodyRefused: 413
        case .tooManyExclusions, .badRequest: 400
        case .tooManyScrapes, .stopping, .tooManyLogins, .tooManyConnections: 503
        case .noStatus: 500
        case .unauthorized: 401
        case .tooManyRequests: 429
        }
    }

    var headers: [(name: String, value: String)] {
        switch self {
        case .healthy:
            [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-cache"), ("Vary", "Accept")]
        case .methodNotAllowed: Self.plain + [("Allow", "GET, HEAD")]
        case .tooManyScrapes, .stopping, .tooManyLogins, .tooManyRequests:
            Self.plain + [("Cache-Control", "no-cache"), ("Retry-After", "1")]
        case .tooManyConnections:
            Self.plain + [("Cache-Control", "no-cache"), ("Retry-After", "1"), ("Connection", "close")]
        case .unauthorized:
            Self.plain + [("WWW-Authenticate", #"Basic realm="Muster", charset="UTF-8""#)]
        case .badRequest: Self.plain + [("Connection", "close")]
        case .notFound, .bodyRefused, .tooManyExclusions, .noStatus: Self.plain
        }
    }

    private static let plain = [(name: "Content-Type", value: "text/plain; charset=utf-8")]

    func body(_ configuration: EndpointConfiguration) -> String {
        switch self {
        case .healthy: "ok"
        case .notFound: "not found\n"
        case .methodNotAllowed: "only GET and HEAD are supported\n"
        case .bodyRefused: "request bodies are not accepted\n"
        case .tooManyExclusions: "at most \(Query.mostExclusions) checks can be excluded\n"
        case .tooManyScrapes:
            "too many scrapes in progress (the limit is \(configuration.concurrentScrapeLimit)); try again\n"
        case .noStatus: "status unavailable\n"
        case .stopping: "the endpoint is stopping\n"
        case .unauthorized: "user name and password required\n"
        case .tooManyRequests: "too many requests; try again\n"
        case .tooManyLogins: "too many logins in progress; try again\n"
        case .tooManyConnections:
            "too many connections (the limit is \(configuration.connectionLimit), and "
                + "\(configuration.perAddressConnectionLimit) for each address); only probes are answered\n"
        case .badRequest: "bad request\n"
        }
    }
}

/// The responses to scrapes. Those that take long are rendered and compressed on a thread that is there only while there
/// are some to make, as the endpoint's own thread has probes to answer meanwhile. Requests that come before a rendering
/// starts share it, so however many come, there is at most one under way and one to follow.
///
/// Sound as `@unchecked Sendable`: everything is touched on the endpoint's thread only, but the press, which belongs to
/// the other thread.
final class ScrapeResponses: @unchecked Sendable {
    /// Completes a response's headers with those that all responses have.
    typealias Complete = (_ headers: [(name: String, value: String)]) -> [(name: String, value: String)]

    /// What a scrape asks for.
    struct Order: Equatable {
        var negotiation: MetricsNegotiation
        /// The families to show; all of them when empty.
        var names: Set<String>
        var isCompressed: Bool
    }

    private typealias Waiting = (order: Order, requests: [HTTPSuspension])

    /// What takes no longer is made on the endpoint's own thread: handing it over would take as long.
    static let shortCost: Duration = .milliseconds(1)
    private static let knownCostLimit = 8

    /// Whether responses can be compressed.
    let canCompress: Bool
    /// Called on the endpoint's loop with the requests that a response is for; `nil` for want of memory.
    var respond: ([HTTPSuspension], TransportResponse?) -> Void = { _, _ in }
    private let loop: EventLoop
    private let press: Press
    private let metrics: EndpointMetrics?
    private let complete: Complete
    private let pool = HTTPBodyPool()
    private var waiting: [Waiting] = []
    private var helper: EventLoop?
    private(set) var isPrinting = false
    /// What the last responses of some kinds have cost, the latest kind last.
    private var costs: [(order: Order, cost: Duration)] = []
    /// What this pass has made.
    private var made: [(order: Order, response: TransportResponse)] = []
    /// How many requests wait for their response.
    private(set) var waitingCount = 0

    /// - Parameter compressionLevel: 1 to 9, or 0 for no compression.
    init(
        renderer: any MetricsRenderer, loop: EventLoop, metrics: EndpointMetrics?, compressionLevel: Int,
        complete: @escaping Complete
    ) {
        let compressor = compressionLevel > 0 ? GzipCompressor(level: Int32(compressionLevel)) : nil
        canCompress = compressor != nil
        press = Press(renderer, compressor)
        self.loop = loop
        self.metrics = metrics
        self.complete = complete
    }

    /// Adds a suspended request; the making of its response begins at the pass' end.
    func add(_ request: HTTPSuspension, for order: Order) {
        waitingCount += 1
        if let known = waiting.firstIndex(where: { $0.order == order }) {
            waiting[known].requests.append(request)
        } else {
            waiting.append((order, [request]))
        }
    }

    /// Begins to make the responses that are waited for, unless others are being made.
    private func start() {
        guard !isPrinting, !waiting.isEmpty else { return }
        // Those of one text follow each other, so that it is rendered once.
        let batch = waiting.sorted { one, other in one.order.isBefore(other.order) }
        let sheets = batch.map { Sheet($0.order, pool.makeBody()) }
        let hasBegun = beside { [self] in
            press.print(sheets)
            loop.submit { [self] in finish(batch, sheets) }
        }
        guard hasBegun else { return refuse() }
        isPrinting = true
        waiting = []
    }

    /// Does something that may take long on the other thread, after what that has to do already.
    ///
    /// - Returns: Whether there is one.
    func beside(_ work: @escaping @Sendable () -> Void) -> Bool {
        if helper == nil { helper = try? EventLoop.helper(name: "muster-scrape", keepAlive: .seconds(30), or: loop) }
        helper?.submit(work)
        return helper != nil
    }

    /// The response to a scrape that takes so little time that it is made here and now, for all requests of a pass:
    /// all of them had begun to arrive by then. `nil` for another scrape.
    func shortResponse(to order: Order) -> TransportResponse? {
        if let made = made.last(where: { $0.order == order }) { return made.response }
        guard !isPrinting, let cost = costs.last(where: { $0.order == order })?.cost, cost <= Self.shortCost else {
            return nil
        }
        let sheet = Sheet(order, pool.makeBody())
        press.print([sheet])
        note(sheet)
        guard sheet.isPrinted, let response = response(to: order, sheet.body) else { return nil }
        made.append((order, response))
        return response
    }

    /// To be called at a pass' end.
    func endPass() {
        made.removeAll(keepingCapacity: true)
        start()
    }

    private func note(_ sheet: Sheet) {
        if let duration = sheet.rendering { metrics?.recordScrape(duration) }
        costs.removeAll { $0.order == sheet.order }
        costs.append((sheet.order, sheet.cost))
        if costs.count > Self.knownCostLimit { costs.removeFirst() }
    }

    private func finish(_ batch: [Waiting], _ sheets: [Sheet]) {
        isPrinting = false
        for (entry, sheet) in zip(batch, sheets) {
            note(sheet)
            waitingCount -= entry.requests.count
            respond(entry.requests, sheet.isPrinted ? response(to: entry.order, sheet.body) : nil)
        }
        start()
    }

    private func refuse() {
        for entry in waiting { respond(entry.requests, nil) }
        waiting = []
        waitingCount = 0
    }

    private func response(to order: Order, _ body: HTTPBody) -> TransportResponse? {
        var headers = [
            (name: "Content-Type", value: order.negotiation.contentType),
            (name: "Vary", value: "Accept, Accept-Encoding"), (name: "Cache-Control", value: "no-cache"),
        ]
        if order.isCompressed { headers.append((name: "Content-Encoding", value: "gzip")) }
        return TransportResponse(status: 200, headers: complete(headers), body: body)
    }

    /// A response's body on its way to the other thread and back.
    ///
    /// Sound as `@unchecked Sendable`: one thread has it at a time.
    private final class Sheet: @unchecked Sendable {
        let order: Order
        let body: HTTPBody
        var isPrinted = false
        /// How long rendering took; `nil` if it shares the text of the one before.
        var rendering: Duration?
        /// How long all of it took.
        var cost = Duration.zero

        init(_ order: Order, _ body: HTTPBody) {
            self.order = order
            self.body = body
        }
    }

    /// What renders and compresses; its memory is reused.
    ///
    /// Sound as `@unchecked Sendable`: it is used by one thread at a time.
    private final class Press: @unchecked Sendable {
        private let renderer: any MetricsRenderer
        private let compressor: GzipCompressor?
        /// What is compressed.
        private let text = GrowingBytes()

        init(_ renderer: any MetricsRenderer, _ compressor: GzipCompressor?) {
            self.renderer = renderer
            self.compressor = compressor
        }

        /// Fills the bodies.
        func print(_ sheets: [Sheet]) {
            var before: Sheet?
            // Where the last one's text is.
            var text = text
            for sheet in sheets {
                let order = sheet.order
                let start = MonotonicInstant.now
                let body = sheet.body.bytes
                let compressor = order.isCompressed ? compressor : nil
                let isKnown = before.map { $0.order.hasSameText(as: order) } ?? false
                if isKnown {
                    sheet.cost = before?.rendering ?? .zero
                } else {
                    // What is not compressed is sent from where it is written.
                    text = compressor == nil ? body : self.text
                    renderer.render(order.negotiation.format, names: order.names, into: text)
                    sheet.rendering = start.duration(to: .now)
                }
                if let compressor {
                    sheet.isPrinted = text.withBytes { compressor.compress($0, into: body) }
                } else {
                    if isKnown { text.withBytes { body.replace(with: $0) } }
                    sheet.isPrinted = true
                }
                before = sheet
                sheet.cost += start.duration(to: .now)
            }
        }
    }
}

extension ScrapeResponses.Order {
    fileprivate func hasSameText(as other: Self) -> Bool {
        negotiation.format == other.negotiation.format && names == other.names
    }

    /// An order in which those of the same text are neighbours.
    fileprivate func isBefore(_ other: Self) -> Bool {
        func key(_ order: Self) -> (Int, String) {
            (order.negotiation.format.rawValue, order.names.sorted().joined(separator: ","))
        }
        return key(self) < key(other)
    }
}

/// The responses that show a status. The one of a report is made once, and shared by the requests that come while the
/// report stands. A look takes as long as the workers have series that are new, and waits for a scrape that reads the same
/// ones, so that it happens beside the endpoint's thread, but where it is known to be short.
///
/// Sound as `@unchecked Sendable`: everything that changes is touched on the endpoint's thread only. The other thread has the
/// board, which is `Sendable`, and what it is handed.
final class StatusResponses: @unchecked Sendable {
    enum Answer {
        /// `nil` when it cannot be made.
        case now(TransportResponse?)
        /// Once there has been a look.
        case later
    }

    private typealias Waiting = (format: StatusFormat, request: HTTPSuspension)

    private let board: StatusBoard
    private let loop: EventLoop
    private let scrapes: ScrapeResponses
    private let complete: ScrapeResponses.Complete
    /// Called on the endpoint's loop with the requests that a response is for; `nil` when it cannot be made.
    var respond: ([HTTPSuspension], TransportResponse?) -> Void = { _, _ in }
    private var made: [StatusFormat: (at: Double, response: TransportResponse)] = [:]
    private var waiting: [Waiting] = []
    private var isLooking = false
    /// What the last look has cost, if there was one.
    private var cost: Duration?
    /// How many requests wait for their response.
    private(set) var waitingCount = 0

    init(
        _ board: StatusBoard, beside scrapes: ScrapeResponses, loop: EventLoop,
        complete: @escaping ScrapeResponses.Complete
    ) {
        self.board = board
        self.loop = loop
        self.scrapes = scrapes
        self.complete = complete
    }

    func removeAll() {
        made = [:]
    }

    /// The response with the present status.
    func answer(_ format: StatusFormat) -> Answer {
        if let report = board.standing { return .now(response(format, report) { Self.body(format, report) }) }
        guard mayLookHere else { return .later }
        let start = MonotonicInstant.now
        let report = board.report()
        let response = response(format, report) { Self.body(format, report) }
        cost = start.duration(to: .now)
        return .now(response)
    }

    /// Adds a suspended request, whose response comes ``Answer/later``.
    func add(_ request: HTTPSuspension, for format: StatusFormat) {
        waitingCount += 1
        waiting.append((format, request))
        look()
    }

    /// Takes a point of the history when one is due.
    func takePoint() {
        guard board.isPointDue else { return }
        if mayLookHere { board.takePoint() } else { look() }
    }

    /// A scrape may have what a look waits for.
    private var mayLookHere: Bool {
        !isLooking && !scrapes.isPrinting && cost.map { $0 <= ScrapeResponses.shortCost } ?? false
    }

    /// Looks beside the endpoint's thread, unless that happens already.
    private func look() {
        guard !isLooking else { return }
        let batch = waiting
        let hasBegun = scrapes.beside { [self] in
            let start = MonotonicInstant.now
            let report = board.report()
            var bodies: [StatusFormat: [UInt8]] = [:]
            for format in Set(batch.map(\.format)) { bodies[format] = Self.body(format, report) }
            let (made, cost) = (bodies, start.duration(to: .now))
            loop.submit { [self] in finish(batch, report, made, cost) }
        }
        waiting = []
        isLooking = hasBegun
        // The last of them is being suspended.
        if !hasBegun { loop.submit { [self] in answer(batch) { _ in nil } } }
    }

    private func finish(
        _ batch: [Waiting], _ report: StatusReport, _ bodies: [StatusFormat: [UInt8]], _ cost: Duration
    ) {
        isLooking = false
        self.cost = cost
        answer(batch) { format in response(format, report) { bodies[format] } }
        if !waiting.isEmpty { look() }
    }

    private func answer(_ batch: [Waiting], _ response: (StatusFormat) -> TransportResponse?) {
        waitingCount -= batch.count
        for format in Set(batch.map(\.format)) {
            respond(batch.filter { $0.format == format }.map(\.request), response(format))
        }
    }

    private func response(
        _ format: StatusFormat, _ report: StatusReport, body: () -> [UInt8]?
    ) -> TransportResponse? {
        if let known = made[format], known.at == report.at { return known.response }
        made[format] = nil
        guard let body = body(),
            let response = TransportResponse(status: 200, headers: complete(headers(format)), body: body)
        else { return nil }
        made[format] = (report.at, response)
        return response
    }

    private static func body(_ format: StatusFormat, _ report: StatusReport) -> [UInt8]? {
        switch format {
        case .html: StatusPage(report).bytes
        case .json: try? report.json()
        }
    }

    private func headers(_ format: StatusFormat) -> [(name: String, value: String)] {
        let headers = [
            (name: "Content-Type", value: format.contentType), (name: "Vary", value: "Accept"),
            (name: "Cache-Control", value: "no-store"),
        ]
        guard format == .html else { return headers }
        return headers + [
            (name: "Content-Security-Policy", value: StatusPage.contentSecurityPolicy),
            (name: "Referrer-Policy", value: "no-referrer"),
        ]
    }
}

/// Compresses whole bodies; its memory is reused.
///
/// Belongs to one thread.
final class GzipCompressor {
    private let stream: UnsafeMutablePointer<z_stream>

    /// - Returns: `nil` when out of memory.
    init?(level: Int32) {
        // The stream must stay where it is: zlib keeps its address.
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        guard czlib_deflate_init_gzip(stream, level) == Z_OK else {
            stream.deinitialize(count: 1)
            stream.deallocate()
            return nil
        }
    }

    deinit {
        deflateEnd(stream)
        stream.deinitialize(count: 1)
        stream.deallocate()
    }

    /// Compresses bytes into a body; returns whether it worked.
    func compress(_ bytes: UnsafeBufferPointer<UInt8>, into body: GrowingBytes) -> Bool {
        guard bytes.count <= Int(UInt32.max) / 2, deflateReset(stream) == Z_OK else { return false }
        let bound = Int(deflateBound(stream, uLong(bytes.count)))
        body.count = 0
        body.reserve(bound)
        stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.baseAddress)
        stream.pointee.avail_in = UInt32(bytes.count)
        stream.pointee.next_out = body.pointer
        stream.pointee.avail_out = UInt32(bound)
        guard deflate(stream, Z_FINISH) == Z_STREAM_END else { return false }
        body.count = bound - Int(stream.pointee.avail_out)
        return true
    }
}
