// SPDX-License-Identifier: Apache-2.0

/// JSON as it was received, with other white space: nothing is read and written anew, so that nothing changes.
public enum JSONText {
    /// The document on one line.
    ///
    /// - Parameter json: The document.
    public static func onOneLine(_ json: [UInt8]) -> [UInt8] { lay(json, indent: nil) }

    /// The document with a line for each value.
    ///
    /// - Parameter json: The document.
    public static func pretty(_ json: [UInt8]) -> [UInt8] { lay(json, indent: 2) }

    private static func lay(_ json: [UInt8], indent: Int?) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(json.count * (indent == nil ? 1 : 2))
        var depth = 0
        var isText = false
        var isEscaped = false
        var previous: UInt8 = 0
        func newLine() {
            guard let indent else { return }
            result.append(0x0A)
            result.append(contentsOf: repeatElement(0x20, count: max(0, depth) * indent))
        }
        for byte in json {
            if isText {
                result.append(byte)
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isText = false
                }
                previous = byte
                continue
            }
            if byte <= 0x20 { continue }
            let isClosing = byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]")
            let wasOpening = previous == UInt8(ascii: "{") || previous == UInt8(ascii: "[")
            if isClosing { depth -= 1 }
            // Nothing between brackets stays so.
            if isClosing != wasOpening { newLine() }
            if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") { depth += 1 }
            if byte == UInt8(ascii: "\"") { isText = true }
            result.append(byte)
            if byte == UInt8(ascii: ",") { newLine() }
            if byte == UInt8(ascii: ":"), indent != nil { result.append(0x20) }
            previous = byte
        }
        return result
    }
}
