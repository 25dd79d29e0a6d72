// SPDX-License-Identifier: Apache-2.0

/// A request for health that waits for checks.
///
/// Sound as `@unchecked Sendable` for the reason that its superclass is.
final class SuspendedRequest: Suspension, @unchecked Sendable {
    let endpointName: String
    let query: Query
    let negotiation: HealthNegotiation
    /// Whether the registry is being asked just now, so that it can answer at once.
    var isBeingAsked = true
    var report: HealthReport?
    var evaluation: HealthEvaluation?

    init(connection: OpaquePointer, endpointName: String, query: Query, negotiation: HealthNegotiation) {
        self.endpointName = endpointName
        self.query = query
        self.negotiation = negotiation
        super.init(connection: connection)
    }

    override func cancel() {
        evaluation?.cancel()
    }
}
