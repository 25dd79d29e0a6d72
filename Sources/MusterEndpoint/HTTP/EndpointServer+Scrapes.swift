// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import MusterPlatform

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
