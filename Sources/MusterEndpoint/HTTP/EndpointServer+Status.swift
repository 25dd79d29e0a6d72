// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd

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
