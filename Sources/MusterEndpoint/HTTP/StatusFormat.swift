// SPDX-License-Identifier: Apache-2.0

/// What a status is written in.
enum StatusFormat: Int, CaseIterable, Sendable {
    case html
    case json

    var contentType: String {
        switch self {
        case .html: "text/html; charset=utf-8"
        case .json: "application/json"
        }
    }

    private static let offers = [
        MediaOffer(type: "text", subtype: "html"), MediaOffer(type: "application", subtype: "json"),
    ]

    /// Reads an `Accept` header.
    ///
    /// - Parameter accept: The header's value.
    init(accept: String) {
        self = MediaOffer.choose(Self.offers, by: accept).flatMap { StatusFormat(rawValue: $0.index) } ?? .html
    }
}
