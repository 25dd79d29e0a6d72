// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc

extension EndpointServer {
    // MARK: Responses

    func make(_ response: FixedResponse) -> OpaquePointer? {
        guard let made = OpaquePointer.response(response.body(configuration)) else { return nil }
        for (name, value) in response.headers { made.add(name, value) }
        addCommonHeaders(to: made)
        return made
    }

    /// Adds what all responses have.
    func addCommonHeaders(to response: OpaquePointer) {
        response.add("X-Content-Type-Options", "nosniff")
    }

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
