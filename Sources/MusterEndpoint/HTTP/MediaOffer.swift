// SPDX-License-Identifier: Apache-2.0

/// A media type that the server can answer with.
struct MediaOffer {
    var type: String
    var subtype: String
    /// The version that a range must ask for if it asks for any.
    var version: String?

    private enum Match: Int {
        case all
        case type
        case exact
        case parameters

        var isExact: Bool { rawValue >= Self.exact.rawValue }
    }

    /// How a range of an `Accept` header fits.
    private func match(_ element: HeaderElement) -> Match? {
        if element.value == "*/*" || element.value == "*" { return .all }
        if element.value == type + "/*" { return .type }
        guard element.value == "\(type)/\(subtype)" else { return nil }
        var match = Match.exact
        for parameter in element.parameters {
            switch parameter.name {
            case "version":
                guard parameter.value == version else { return nil }
                match = .parameters
            case "charset":
                guard parameter.value.lowercased() == "utf-8" else { return nil }
            default:
                // `escaping`, and what is not known, ask for nothing that the answer would contradict.
                continue
            }
        }
        return match
    }

    /// Chooses the offer that a header prefers (RFC 9110, section 12.5.1): the most exact range that fits an offer
    /// gives its weight; among equals the more exact range wins, then, of ranges that name a type, the first one in
    /// the header, then the first offer.
    ///
    /// - Parameters:
    ///   - offers: The offers, the preferred one first.
    ///   - header: The header's value.
    /// - Returns: The chosen offer's index and the range it was chosen by; `nil` when none is acceptable.
    static func choose(_ offers: [MediaOffer], by header: String) -> (index: Int, element: HeaderElement)? {
        let elements = HeaderElement.parse(header)
        var best: (index: Int, position: Int, match: Match)?
        for (index, offer) in offers.enumerated() {
            var own: (position: Int, match: Match)?
            for (position, element) in elements.enumerated() {
                guard let match = offer.match(element) else { continue }
                if let known = own, known.match.rawValue >= match.rawValue { continue }
                own = (position, match)
            }
            guard let own, elements[own.position].weight > 0 else { continue }
            guard let known = best else {
                best = (index, own.position, own.match)
                continue
            }
            let weight = elements[own.position].weight
            let knownWeight = elements[known.position].weight
            let isBetter =
                if weight != knownWeight {
                    weight > knownWeight
                } else if own.match.isExact != known.match.isExact {
                    own.match.isExact
                } else {
                    own.match.isExact && own.position < known.position
                }
            if isBetter { best = (index, own.position, own.match) }
        }
        return best.map { ($0.index, elements[$0.position]) }
    }
}
