// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
public import MusterEndpoint

/// An answer to the question for a status: the document as it came, and what it says.
public struct StatusAnswer: Hashable, Sendable {
    /// The document as it came.
    public let document: [UInt8]
    /// What it says.
    public let report: StatusReport

    /// Reads an answer.
    ///
    /// - Parameters:
    ///   - status: The HTTP status.
    ///   - body: The body.
    /// - Throws: ``FetchFailure/status(_:hint:)``, ``FetchFailure/version(_:)``, ``FetchFailure/noStatus(reason:)``.
    public init(status: Int, body: [UInt8]) throws(FetchFailure) {
        guard status == 200 else {
            let line = body.prefix { $0 != 0x0A }.prefix(200)
            throw .status(status, hint: line.first == UInt8(ascii: "<") ? "" : String(decoding: line, as: UTF8.self))
        }
        document = body
        if let version = try? JSONDecoder().decode(Version.self, from: Data(body)).schemaVersion,
            version != StatusReport.currentSchemaVersion
        {
            throw .version(version)
        }
        do {
            report = try StatusReport(json: body)
        } catch let error as DecodingError {
            throw .noStatus(reason: Self.text(error))
        } catch {
            throw .noStatus(reason: "\(error)")
        }
    }

    private struct Version: Decodable {
        let schemaVersion: Int
    }

    private static func text(_ error: DecodingError) -> String {
        let (context, what): (DecodingError.Context, String) =
            switch error {
            case .keyNotFound(let key, let context): (context, "the key '\(key.stringValue)' is missing")
            case .typeMismatch(_, let context): (context, "a value has another type")
            case .valueNotFound(_, let context): (context, "a value is missing")
            case .dataCorrupted(let context):
                (context, context.codingPath.isEmpty ? "it is no JSON" : "a value cannot be read")
            @unknown default: (DecodingError.Context(codingPath: [], debugDescription: ""), "it cannot be read")
            }
        let path = context.codingPath.map(\.stringValue).joined(separator: ".")
        return path.isEmpty ? what : "\(what), at '\(path)'"
    }

    /// The exit code: ``CommandExit/success`` for a service that is live and ready.
    public var exit: CommandExit {
        report.health.live != .fail && report.health.ready != .fail ? .success : .unwell
    }
}
