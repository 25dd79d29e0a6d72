// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc

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
