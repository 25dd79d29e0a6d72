// SPDX-License-Identifier: Apache-2.0

/// What an `Accept` header asks a health report to be written in.
enum HealthNegotiation: Int, Sendable {
    case text
    case healthJSON
    case plainJSON

    var contentType: String {
        switch self {
        case .text: "text/plain; charset=utf-8"
        case .healthJSON: "application/health+json"
        case .plainJSON: "application/json"
        }
    }

    private static let offers = [
        MediaOffer(type: "text", subtype: "plain"),
        MediaOffer(type: "application", subtype: "health+json"),
        MediaOffer(type: "application", subtype: "json"),
    ]

    /// Reads the header.
    ///
    /// - Parameter accept: The header's value.
    init(accept: String) {
        let choice = MediaOffer.choose(Self.offers, by: accept)
        self = choice.flatMap { HealthNegotiation(rawValue: $0.index) } ?? .text
    }
}
