// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterMetrics

/// One element of a comma-separated header with weights, such as `Accept` (RFC 9110, section 12.4.2 and 5.6).
struct HeaderElement: Equatable {
    struct Parameter: Equatable {
        /// In lower case.
        var name: String
        var value: String
    }

    /// In lower case.
    var value: String
    var parameters: [Parameter] = []
    /// The weight in thousandths.
    var weight = 1000

    /// Reads a header. What makes no sense is left out, as if it had not been sent.
    static func parse(_ header: String) -> [HeaderElement] {
        split(Array(header.utf8)[...], at: UInt8(ascii: ",")).compactMap(element)
    }

    private static func element(_ bytes: ArraySlice<UInt8>) -> HeaderElement? {
        let parts = split(bytes, at: UInt8(ascii: ";"))
        guard let first = parts.first else { return nil }
        var element = HeaderElement(value: text(trimmed(first)).lowercased())
        guard !element.value.isEmpty else { return nil }
        for part in parts.dropFirst() {
            guard let equals = part.firstIndex(of: UInt8(ascii: "=")) else { continue }
            let name = text(trimmed(part[..<equals])).lowercased()
            let value = unquoted(trimmed(part[(equals + 1)...]))
            if name == "q" {
                guard let weight = weight(value) else { return nil }
                element.weight = weight
            } else {
                element.parameters.append(Parameter(name: name, value: value))
            }
        }
        return element
    }

    /// Splits where a separator stands outside quotes.
    private static func split(_ bytes: ArraySlice<UInt8>, at separator: UInt8) -> [ArraySlice<UInt8>] {
        var parts: [ArraySlice<UInt8>] = []
        var start = bytes.startIndex
        var isQuoted = false
        var isEscaped = false
        for (index, byte) in zip(bytes.indices, bytes) {
            if isEscaped {
                isEscaped = false
            } else if isQuoted, byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if byte == UInt8(ascii: "\"") {
                isQuoted.toggle()
            } else if byte == separator, !isQuoted {
                parts.append(bytes[start..<index])
                start = index + 1
            }
        }
        parts.append(bytes[start...])
        return parts
    }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        func isSpace(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        let head = bytes.drop(while: isSpace)
        guard let last = head.lastIndex(where: { !isSpace($0) }) else { return [] }
        return head[...last]
    }

    private static func unquoted(_ bytes: ArraySlice<UInt8>) -> String {
        guard bytes.count >= 2, bytes.first == UInt8(ascii: "\""), bytes.last == UInt8(ascii: "\"") else {
            return text(bytes)
        }
        var result: [UInt8] = []
        var isEscaped = false
        for byte in bytes.dropFirst().dropLast() {
            if !isEscaped, byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else {
                result.append(byte)
                isEscaped = false
            }
        }
        return text(result[...])
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes, as: UTF8.self)
    }

    /// A weight in thousandths; more than three decimals are cut off, more than 1 counts as 1.
    private static func weight(_ text: String) -> Int? {
        var weight = 0
        var decimals = -1
        var digits = 0
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "."):
                guard decimals < 0 else { return nil }
                decimals = 0
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                digits += 1
                let digit = Int(byte - UInt8(ascii: "0"))
                if decimals < 0 {
                    weight = min(weight * 10 + digit * 1000, 1000)
                } else {
                    decimals += 1
                    let scale = [0, 100, 10, 1]
                    if decimals < scale.count { weight += digit * scale[decimals] }
                }
            default: return nil
            }
        }
        return digits > 0 ? min(weight, 1000) : nil
    }
}

/// A media type that the server can answer with.
struct MediaOffer {
    var type: String
    var subtype: String
    /// What a range must ask for if it asks for any: versions, for example.
    var parameters: [String: String] = [:]

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
            case "version", "proto", "encoding":
                guard parameter.value == parameters[parameter.name] else { return nil }
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
        MediaOffer(type: "text", subtype: "plain", parameters: ["version": "0.0.4"]),
        MediaOffer(type: "application", subtype: "openmetrics-text", parameters: ["version": "1.0.0"]),
        MediaOffer(
            type: "application", subtype: "vnd.google.protobuf",
            parameters: ["proto": "io.prometheus.client.MetricFamily", "encoding": "delimited"]),
    ]

    init(format: ExpositionFormat, namesEscaping: Bool = false) {
        self.format = format
        self.namesEscaping = namesEscaping
    }

    /// Reads the header.
    init(accept: String) {
        guard let (index, element) = MediaOffer.choose(Self.offers, by: accept),
            let format = ExpositionFormat(rawValue: index)
        else {
            self = .fallback
            return
        }
        self.format = format
        namesEscaping = format != .text && element.parameters.contains { $0.name == "escaping" }
    }
}

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
    init(accept: String) {
        let choice = MediaOffer.choose(Self.offers, by: accept)
        self = choice.flatMap { HealthNegotiation(rawValue: $0.index) } ?? .text
    }
}

/// What an `Accept-Encoding` header asks for (RFC 9110, section 12.5.3).
enum CodingNegotiation {
    /// Whether the header wants gzip, and wants it no less than plain bytes.
    static func prefersGzip(_ header: String) -> Bool {
        var gzip: Int?
        var identity: Int?
        var any: Int?
        for element in HeaderElement.parse(header) {
            switch element.value {
            case "gzip", "x-gzip": gzip = max(gzip ?? 0, element.weight)
            case "identity": identity = element.weight
            case "*": any = element.weight
            default: continue
            }
        }
        guard let weight = gzip ?? any, weight > 0 else { return false }
        return weight >= (identity ?? 0)
    }
}

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
    init(accept: String) {
        self = MediaOffer.choose(Self.offers, by: accept).flatMap { StatusFormat(rawValue: $0.index) } ?? .html
    }
}

/// Remembers what the last few distinct values of a header came to. Scrapers and probes send the same ones for ever,
/// so that nothing is parsed, and nothing allocated, in the long run.
struct HeaderMemo<Value> {
    private struct Entry {
        var header: [CChar]
        var value: Value
    }

    private static var capacity: Int { 4 }
    private static var longestHeader: Int { 2048 }

    private var entries: [Entry] = []
    private var next = 0

    init() {}

    /// The header's meaning.
    mutating func value(of header: UnsafePointer<CChar>, _ read: (String) -> Value) -> Value {
        for entry in entries where entry.header.withUnsafeBufferPointer({ same($0, header) }) {
            return entry.value
        }
        let value = read(String(cString: header))
        let length = strlen(header)
        guard length <= Self.longestHeader else { return value }
        let entry = Entry(header: Array(UnsafeBufferPointer(start: header, count: length + 1)), value: value)
        if entries.count < Self.capacity {
            entries.append(entry)
        } else {
            entries[next] = entry
            next = (next + 1) % Self.capacity
        }
        return value
    }

    private func same(_ known: UnsafeBufferPointer<CChar>, _ header: UnsafePointer<CChar>) -> Bool {
        guard let base = known.baseAddress else { return false }
        return strcmp(base, header) == 0
    }
}
