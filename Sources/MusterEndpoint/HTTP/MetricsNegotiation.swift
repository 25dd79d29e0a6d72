// SPDX-License-Identifier: Apache-2.0

import MusterMetrics

/// What an `Accept` header asks the metrics to be written in.
struct MetricsNegotiation: Hashable, Sendable {
    var format: ExpositionFormat
    /// Whether the header spoke of the escaping of names, so that the answer should too. As no exported name needs
    /// any, the answer is the same whichever was asked for.
    var namesEscaping = false

    /// The value of `Content-Type`.
    var contentType: String {
        namesEscaping ? format.contentType + "; escaping=underscores" : format.contentType
    }

    /// Text 0.0.4 for want of anything better, as Prometheus' documentation of content negotiation has it.
    static let fallback = MetricsNegotiation(format: .text)

    private static let offers = [
        MediaOffer(type: "text", subtype: "plain", version: "0.0.4"),
        MediaOffer(type: "application", subtype: "openmetrics-text", version: "1.0.0"),
    ]

    init(format: ExpositionFormat, namesEscaping: Bool = false) {
        self.format = format
        self.namesEscaping = namesEscaping
    }

    /// Reads the header.
    ///
    /// - Parameter accept: The header's value.
    init(accept: String) {
        guard let (index, element) = MediaOffer.choose(Self.offers, by: accept) else {
            self = .fallback
            return
        }
        format = index == 0 ? .text : .openMetrics
        namesEscaping = index == 1 && element.parameters.contains { $0.name == "escaping" }
    }
}
