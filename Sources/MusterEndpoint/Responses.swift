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
    case badRequest

    var status: Int {
        switch self {
        case .healthy: 200
        case .notFound: 404
        case .methodNotAllowed: 405
        case .bodyRefused: 413
        case .tooManyExclusions, .badRequest: 400
        case .tooManyScrapes, .stopping, .tooManyLogins: 503
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
        case .badRequest: "bad request\n"
        }
    }
}

/// The responses to scrapes. Requests that one pass of the loop finds share them: all of them had begun to arrive when
/// they were rendered.
///
/// Belongs to the endpoint's thread.
final class ScrapeResponses {
    /// Completes a response's headers with those that all responses have.
    typealias Complete = (_ headers: [(name: String, value: String)]) -> [(name: String, value: String)]

    private struct Scrape {
        var negotiation: MetricsNegotiation
        var names: Set<String>
        var isCompressed: Bool
        var response: HTTPResponse
    }

    private let renderer: any MetricsRenderer
    private let metrics: EndpointMetrics?
    private let compressor: GzipCompressor?
    private let pool = HTTPBodyPool()
    /// What has been rendered in the present pass, and the responses made of it.
    private var rendering: (format: ExpositionFormat, names: Set<String>)?
    private var buffer: [UInt8] = []
    private var scrapes: [Scrape] = []

    /// - Parameter compressionLevel: 1 to 9, or 0 for no compression.
    init(renderer: any MetricsRenderer, metrics: EndpointMetrics?, compressionLevel: Int) {
        self.renderer = renderer
        self.metrics = metrics
        compressor = compressionLevel > 0 ? GzipCompressor(level: Int32(compressionLevel)) : nil
    }

    /// Whether responses can be compressed.
    var canCompress: Bool { compressor != nil }

    /// The response to a scrape of the named families, or of all; `nil` for want of memory.
    func response(
        for negotiation: MetricsNegotiation, _ names: Set<String>, isCompressed: Bool, complete: Complete
    ) -> HTTPResponse? {
        for scrape in scrapes
        where scrape.negotiation == negotiation && scrape.isCompressed == isCompressed && scrape.names == names {
            return scrape.response
        }
        if rendering?.format != negotiation.format || rendering?.names != names {
            let start = MonotonicInstant.now
            renderer.render(negotiation.format, names: names, into: &buffer)
            metrics?.recordScrape(start.duration(to: .now))
            rendering = (negotiation.format, names)
        }
        guard let body = makeBody(isCompressed: isCompressed) else { return nil }
        var headers = [
            (name: "Content-Type", value: negotiation.contentType),
            (name: "Vary", value: "Accept, Accept-Encoding"), (name: "Cache-Control", value: "no-cache"),
        ]
        if isCompressed { headers.append((name: "Content-Encoding", value: "gzip")) }
        guard let made = HTTPResponse(status: 200, headers: complete(headers), body: body) else { return nil }
        scrapes.append(Scrape(negotiation: negotiation, names: names, isCompressed: isCompressed, response: made))
        return made
    }

    private func makeBody(isCompressed: Bool) -> HTTPBody? {
        let body = pool.makeBody()
        return buffer.withUnsafeBufferPointer { bytes in
            if isCompressed, let compressor { return compressor.compress(bytes, into: body) ? body : nil }
            body.fill(bytes)
            return body
        }
    }

    /// Forgets what the pass has rendered.
    func endPass() {
        guard rendering != nil else { return }
        rendering = nil
        scrapes.removeAll(keepingCapacity: true)
    }
}

/// The responses that show a status. The one of a report is made once, and shared by the requests that come while the
/// report stands. Belongs to the endpoint's thread.
final class StatusResponses {
    private let board: StatusBoard
    private var made: [StatusFormat: (at: Double, response: HTTPResponse)] = [:]

    init(_ board: StatusBoard) {
        self.board = board
    }

    /// Whether the history may get another point.
    var isPointDue: Bool { board.isPointDue }

    /// Takes a point of the history when one is due.
    func takePoint() { board.takePoint() }

    func removeAll() {
        made = [:]
    }

    /// The response with the present status; `nil` when it cannot be made.
    func response(_ format: StatusFormat, complete: ScrapeResponses.Complete) -> HTTPResponse? {
        let report = board.report()
        if let known = made[format], known.at == report.at { return known.response }
        made[format] = nil
        let body: [UInt8]
        switch format {
        case .html: body = StatusPage(report).bytes
        case .json:
            guard let json = try? report.json() else { return nil }
            body = json
        }
        guard let response = HTTPResponse(status: 200, headers: complete(headers(format)), body: body) else {
            return nil
        }
        made[format] = (report.at, response)
        return response
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
    func compress(_ bytes: UnsafeBufferPointer<UInt8>, into body: HTTPBody) -> Bool {
        guard bytes.count <= Int(UInt32.max) / 2, deflateReset(stream) == Z_OK else { return false }
        let bound = Int(deflateBound(stream, uLong(bytes.count)))
        body.reserve(bound)
        stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.baseAddress)
        stream.pointee.avail_in = UInt32(bytes.count)
        stream.pointee.next_out = body.pointer.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(bound)
        guard deflate(stream, Z_FINISH) == Z_STREAM_END else { return false }
        body.count = bound - Int(stream.pointee.avail_out)
        return true
    }
}
