// SPDX-License-Identifier: Apache-2.0

import InMemoryLogging
import Logging

/// A logger whose lines a test can look at.
struct CapturedLog: Sendable {
    let logger: Logger
    private let handler: InMemoryLogHandler

    init() {
        let handler = InMemoryLogHandler()
        self.handler = handler
        var logger = Logger(label: "test") { _ in handler }
        logger.logLevel = .trace
        self.logger = logger
    }

    func messages(_ level: Logger.Level) -> [String] {
        handler.entries.filter { $0.level == level }.map { "\($0.message)" }
    }

    /// The values of one key of the metadata, of all lines with a message.
    func metadata(_ key: String, of message: String) -> [String] {
        handler.entries.filter { "\($0.message)" == message }.compactMap { $0.metadata[key].map { "\($0)" } }
    }
}
