// SPDX-License-Identifier: Apache-2.0

import Logging

/// Keeps what was logged, so that a test can look at it.
final class RecordedLog: Sendable {
    private let lines = Box<[String]>([])
    private let arrival = Signal()

    var messages: [String] { lines.value }

    /// Waits until a text has been logged a number of times, on one thread; `false` after far longer than that takes.
    func waits(for text: String, times: Int = 1) -> Bool {
        while messages.count(where: { $0.contains(text) }) < times {
            guard arrival.wait() else { return false }
        }
        return true
    }

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
            var line = "\(event.level): \(event.message)"
            for key in ["check", "reason"] {
                if let value = event.metadata?[key] { line += " \(key)=\(value)" }
            }
            log.lines.change { $0.append(line) }
            log.arrival.send()
        }
    }
}
