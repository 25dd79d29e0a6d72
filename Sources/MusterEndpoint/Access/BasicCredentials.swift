// SPDX-License-Identifier: Apache-2.0

/// A user's name and password as a request brings them (RFC 7617). Bytes, because nobody says how they are encoded.
struct BasicCredentials {
    /// The name; what is no UTF-8 is no name of a file.
    var user: String
    var password: [UInt8]

    /// Reads the header `Authorization`; `nil` for another scheme, or for what cannot be read.
    init?(_ header: String) {
        let bytes = Array(header.utf8)
        guard bytes.count > 6, header.prefix(6).lowercased() == "basic " else { return nil }
        guard let decoded = Self.decode(bytes.dropFirst(6).drop { $0 == UInt8(ascii: " ") }),
            let colon = decoded.firstIndex(of: UInt8(ascii: ":")),
            let user = String(validating: decoded[..<colon], as: UTF8.self)
        else { return nil }
        self.user = user
        password = Array(decoded[(colon + 1)...])
    }

    /// Decodes base64 (RFC 4648, with padding).
    private static func decode(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        guard !text.isEmpty, text.count.isMultiple(of: 4) else { return nil }
        let padding = text.reversed().prefix { $0 == UInt8(ascii: "=") }.count
        guard padding <= 2 else { return nil }
        var decoded: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for byte in text.dropLast(padding) {
            guard let value = value(of: byte) else { return nil }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                decoded.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return decoded
    }

    private static func value(of byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
