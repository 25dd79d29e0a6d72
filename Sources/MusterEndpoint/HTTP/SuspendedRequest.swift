// SPDX-License-Identifier: Apache-2.0

/// A request for health that waits for checks.
///
/// Sound as `@unchecked Sendable`: it is made, read and written on the endpoint's thread only; others merely carry
/// it back there.
final class SuspendedRequest: @unchecked Sendable {
    let connection: OpaquePointer
    let endpointName: String
    let query: Query
    let negotiation: HealthNegotiation
    /// Whether the registry is being asked just now, so that it can answer at once.
    var isBeingAsked = true
    var report: HealthReport?
    var evaluation: HealthEvaluation?

    init(connection: OpaquePointer, endpointName: String, query: Query, negotiation: HealthNegotiation) {
        self.connection = connection
        self.endpointName = endpointName
        self.query = query
        self.negotiation = negotiation
    }
}
