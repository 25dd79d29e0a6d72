// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import CZlib
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

    var status: Int {
        switch self {
        case .healthy: 200
        case .notFound: 404
        case .methodNotAllowed: 405
        case .bodyRefused: 413
        case .tooManyExclusions: 400
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
        case .notFound, .bodyRefused, .tooManyExclusions, .noStatus: Self.plain
        }
    }

    private static let plain = [(name: "Content-Type", value: "text/plain; charset=utf-8")]

    /// - Parameter configuration: The limits that the texts name.
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
        }
    }
}

/// The responses to scrapes. Requests that one pass of the loop finds share them: all of them had begun to arrive when
/// they were rendered.
///
/// Belongs to the endpoint's thread.
final class ScrapeResponses {
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

    private let renderer: any MetricsRenderer
    private let metrics: EndpointMetrics?
    private let compressor: GzipCompressor?
    private let pool = BodyPool()
    /// What has been rendered in the present pass, and the responses made of it.
    private var rendering: Rendering?
    private var buffer: [UInt8] = []
    private var scrapes: [Scrape] = []

    /// Creates an empty collection.
    ///
    /// - Parameters:
    ///   - renderer: Writes the metrics.
    ///   - metrics: Where the duration of a rendering is noted.
    ///   - compressionLevel: 1 to 9, or 0 for no compression.
    init(renderer: any MetricsRenderer, metrics: EndpointMetrics?, compressionLevel: Int) {
        self.renderer = renderer
        self.metrics = metrics
        compressor = compressionLevel > 0 ? GzipCompressor(level: Int32(compressionLevel)) : nil
    }

    /// Whether responses can be compressed.
    var canCompress: Bool { compressor != nil }

    /// The response to a scrape, which stays until ``endPass()``.
    ///
    /// - Parameters:
    ///   - negotiation: The format.
    ///   - names: The families asked for; empty for all.
    ///   - isCompressed: Whether the client takes gzip.
    ///   - finish: Adds the headers that it is given, and what all responses have.
    /// - Returns: `nil` for want of memory.
    func response(
        for negotiation: MetricsNegotiation, _ names: Set<String>, isCompressed: Bool,
        finish: (OpaquePointer, [(name: String, value: String)]) -> Void
    ) -> OpaquePointer? {
        for scrape in scrapes
        where scrape.negotiation == negotiation && scrape.isCompressed == isCompressed && scrape.names == names {
            return scrape.response
        }
        if rendering?.format != negotiation.format || rendering?.names != names {
            let start = MonotonicInstant.now
            renderer.render(negotiation.format, names: names, into: &buffer)
            metrics?.recordScrape(start.duration(to: .now))
            rendering = Rendering(format: negotiation.format, names: names)
        }
        guard let made = makeResponse(isCompressed: isCompressed) else { return nil }
        var headers = [
            (name: "Content-Type", value: negotiation.contentType),
            (name: "Vary", value: "Accept, Accept-Encoding"), (name: "Cache-Control", value: "no-cache"),
        ]
        if isCompressed { headers.append((name: "Content-Encoding", value: "gzip")) }
        finish(made, headers)
        scrapes.append(
            Scrape(negotiation: negotiation, names: names, isCompressed: isCompressed, response: made))
        return made
    }

    private func makeResponse(isCompressed: Bool) -> OpaquePointer? {
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
        if made == nil { owner.release() }
        return made
    }

    /// Forgets what the pass has rendered; the library keeps what it still sends.
    func endPass() {
        guard rendering != nil else { return }
        rendering = nil
        for scrape in scrapes { MHD_destroy_response(scrape.response) }
        scrapes.removeAll(keepingCapacity: true)
    }

    /// Lets go of everything.
    func tearDown() {
        endPass()
        pool.empty()
    }
}

/// The responses that show a status. The one of a report is made once, and shared by those who ask while the report
/// stands. Belongs to the endpoint's thread.
final class StatusResponses {
    private struct Made {
        var at: Double
        var response: OpaquePointer
    }

    private let board: StatusBoard
    private var made: [StatusFormat: Made] = [:]

    init(_ board: StatusBoard) {
        self.board = board
    }

    /// Whether the history may get another point.
    var isPointDue: Bool { board.isPointDue }

    /// Takes a point of the history when one is due.
    func takePoint() { board.takePoint() }

    /// Lets go of what was made; the library keeps what it still sends.
    func forget() {
        for made in made.values { MHD_destroy_response(made.response) }
        made = [:]
    }

    /// The response with the status of now.
    ///
    /// - Parameters:
    ///   - format: What it is written in.
    ///   - finish: Adds the headers that it is given, and what all responses have.
    /// - Returns: The response, which stays this object's; `nil` when it cannot be made.
    func response(
        _ format: StatusFormat, finish: (OpaquePointer, [(name: String, value: String)]) -> Void
    ) -> OpaquePointer? {
        let report = board.report()
        if let known = made[format] {
            if known.at == report.at { return known.response }
            MHD_destroy_response(known.response)
            made[format] = nil
        }
        guard let response = make(format, report) else { return nil }
        finish(response, headers(format))
        made[format] = Made(at: report.at, response: response)
        return response
    }

    private func make(_ format: StatusFormat, _ report: StatusReport) -> OpaquePointer? {
        let body: [UInt8]
        switch format {
        case .html: body = StatusPage(report).bytes
        case .json:
            guard let json = try? report.json() else { return nil }
            body = json
        }
        return body.withUnsafeBytes { bytes in
            MHD_create_response_from_buffer(
                bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress), .RESPMEM_MUST_COPY)
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

/// Compresses whole bodies; its memory is used again and again.
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

    /// Compresses a body.
    ///
    /// - Parameters:
    ///   - bytes: The body.
    ///   - storage: Receives the result.
    /// - Returns: Whether it worked; if not, the storage's content has no meaning.
    func compress(_ bytes: UnsafeBufferPointer<UInt8>, into storage: BodyStorage) -> Bool {
        guard bytes.count <= Int(UInt32.max) / 2, deflateReset(stream) == Z_OK else { return false }
        let bound = Int(deflateBound(stream, uLong(bytes.count)))
        storage.reserve(bound)
        stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.baseAddress)
        stream.pointee.avail_in = UInt32(bytes.count)
        stream.pointee.next_out = storage.pointer.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(bound)
        guard deflate(stream, Z_FINISH) == Z_STREAM_END else { return false }
        storage.count = bound - Int(stream.pointee.avail_out)
        return true
    }
}

/// Bodies that wait for their next use.
final class BodyPool {
    private static let capacity = 4
    private var spares: [BodyStorage] = []

    func make() -> BodyStorage {
        spares.popLast() ?? BodyStorage(capacity: 16 << 10, pool: self)
    }

    func take(_ storage: BodyStorage) {
        if spares.count < Self.capacity { spares.append(storage) }
    }

    /// Lets go of the spares, which know the pool.
    func empty() {
        spares = []
    }
}

/// The bytes of one response's body, at an address that stays while the library sends them.
///
/// Belongs to the endpoint's thread.
final class BodyStorage {
    private(set) var pointer: UnsafeMutableRawPointer
    private(set) var capacity: Int
    var count = 0
    private let pool: BodyPool

    init(capacity: Int, pool: BodyPool) {
        self.capacity = capacity
        self.pool = pool
        pointer = .allocate(byteCount: capacity, alignment: 16)
    }

    deinit {
        pointer.deallocate()
    }

    /// Makes room; what was there is lost.
    func reserve(_ size: Int) {
        guard size > capacity else { return }
        pointer.deallocate()
        // Some more, so that a body that grows a little does not need new memory each time.
        capacity = size + size / 4
        pointer = .allocate(byteCount: capacity, alignment: 16)
    }

    func fill(_ bytes: UnsafeBufferPointer<UInt8>) {
        reserve(bytes.count)
        if let source = bytes.baseAddress { pointer.copyMemory(from: source, byteCount: bytes.count) }
        count = bytes.count
    }

    /// Says that the library does not need the bytes any more.
    func giveBack() {
        pool.take(self)
    }
}
