// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import MusterMetrics
import MusterPlatform

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
            metrics?.noteScrape(start.duration(to: .now))
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
