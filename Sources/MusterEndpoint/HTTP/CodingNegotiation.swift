// SPDX-License-Identifier: Apache-2.0

/// What an `Accept-Encoding` header asks for (RFC 9110, section 12.5.3).
enum CodingNegotiation {
    /// Whether the header wants gzip, and wants it no less than plain bytes.
    ///
    /// - Parameter header: The header's value.
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
