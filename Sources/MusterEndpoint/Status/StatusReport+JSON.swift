// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials

extension StatusReport {
    /// The report as JSON, its keys in alphabetic order.
    ///
    /// - Returns: The body of an answer, in UTF-8 with a newline at its end.
    /// - Throws: `EncodingError` for a number that is not finite.
    public func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var bytes = Array(try encoder.encode(self))
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    /// Reads what ``json()`` or a service's `/status` has written.
    ///
    /// - Parameter json: The JSON.
    /// - Throws: `DecodingError` for what is no status of the version ``currentSchemaVersion``.
    public init(json: some Sequence<UInt8>) throws {
        self = try JSONDecoder().decode(StatusReport.self, from: Data(json))
    }
}
