// SPDX-License-Identifier: Apache-2.0

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
    ///
    /// - Parameter header: The header's value.
    /// - Returns: The elements in their order.
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
