// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Glibc
public import Logging

/// Writes each log message to standard error as one line of JSON.
public struct JSONLogHandler: LogHandler {
    /// The least severe level written.
    public var logLevel = Logger.Level.info
    /// The logger's metadata.
    public var metadata: Logger.Metadata = [:]
    /// What adds metadata to each message.
    public var metadataProvider: Logger.MetadataProvider?

    private let label: String
    private let write: @Sendable ([UInt8]) -> Void

    /// - Parameter write: Takes a line, with its end.
    public init(
        label: String, metadataProvider: Logger.MetadataProvider? = nil,
        write: @escaping @Sendable ([UInt8]) -> Void = JSONLogHandler.writeToStandardError
    ) {
        self.label = label
        self.metadataProvider = metadataProvider
        self.write = write
    }

    /// A value of the logger's metadata.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes a message.
    public func log(event: LogEvent) {
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { _, provided in provided } }
        if let own = event.metadata { all.merge(own) { _, own in own } }
        let record = Record(
            timestamp: Date.now.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)),
            level: event.level.rawValue, label: label, message: "\(event.message)", source: event.source,
            error: event.error.map { "\($0)" }, metadata: all.isEmpty ? nil : all.mapValues(Value.init))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Text alone: there is nothing that it could refuse.
        guard let line = try? encoder.encode(record) else { return }
        write(line + [UInt8(ascii: "\n")])
    }

    /// Writes at once, so that lines of several processes do not mix.
    @Sendable public static func writeToStandardError(_ line: [UInt8]) {
        line.withUnsafeBytes { bytes in
            var rest = bytes[...]
            while let start = UnsafeRawBufferPointer(rebasing: rest).baseAddress, !rest.isEmpty {
                let count = Glibc.write(STDERR_FILENO, start, rest.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                rest = rest.dropFirst(count)
            }
        }
    }

    private struct Record: Encodable {
        let timestamp: String
        let level: String
        let label: String
        let message: String
        let source: String
        let error: String?
        let metadata: [String: Value]?
    }

    private enum Value: Encodable {
        case text(String)
        case list([Value])
        case dictionary([String: Value])

        init(_ value: Logger.Metadata.Value) {
            switch value {
            case .string(let text): self = .text(text)
            case .stringConvertible(let value): self = .text("\(value)")
            case .array(let values): self = .list(values.map(Value.init))
            case .dictionary(let values): self = .dictionary(values.mapValues(Value.init))
            }
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .text(let text): try container.encode(text)
            case .list(let values): try container.encode(values)
            case .dictionary(let values): try container.encode(values)
            }
        }
    }
}
