// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterLock
import MusterPlatform

/// Keeps what was logged, so that a test can look at it.
final class RecordedLog: Sendable {
    private let lines = Locked<[String]>([])

    var messages: [String] { lines.withLock { $0 } }

    var logger: Logger {
        Logger(label: "test") { _ in Handler(log: self) }
    }

    private struct Handler: LogHandler {
        let log: RecordedLog
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let metric = event.metadata?["metric"].map { " [\($0)]" } ?? ""
            let line = "\(event.level): \(event.message)\(metric)"
            log.lines.withLock { $0.append(line) }
        }
    }
}
