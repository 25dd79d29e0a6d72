// SPDX-License-Identifier: Apache-2.0

import InMemoryLogging
import Logging
import MusterPlatform
import Testing

@testable import Muster

@Suite("The log handler around the application's")
struct MusterLogHandlerTests {
    @Test("A level holds at once in loggers that there are, whatever they have of their own, until it is reset")
    func level() throws {
        let log = InMemoryLogHandler()
        let label = "test.level-\(#line)"
        var logger = Logger(label: label, factory: { _ in MusterLogHandler(log, label: label) })
        logger.logLevel = .warning
        var quiet = logger
        quiet.logLevel = .critical
        quiet[metadataKey: "copy"] = "1"
        logger.debug("before")
        try LogLevels.shared.set(.debug, for: label)
        logger.debug("one")
        quiet.debug("two")
        logger.trace("too fine")
        LogLevels.shared.reset(label)
        logger.info("after")
        quiet.error("after")
        #expect(log.entries.map { "\($0.message)" } == ["one", "two"])
        #expect(logger.logLevel == .warning)
    }

    @Test("Handlers that look at their own level write what an operator wants to see")
    func multiplexed() throws {
        let log = InMemoryLogHandler()
        let label = "test.multiplexed-\(#line)"
        var inner = log
        inner.logLevel = .error
        let handler = MultiplexLogHandler([inner])
        let logger = Logger(label: label, factory: { _ in MusterLogHandler(handler, label: label) })
        try LogLevels.shared.set(.debug, for: label)
        defer { LogLevels.shared.reset(label) }
        logger.debug("seen")
        #expect(log.entries.map { "\($0.message)" } == ["seen"])
    }

    @Test("The runtime's loggers follow under any handler")
    func runtime() throws {
        let log = InMemoryLogHandler()
        let label = "test.runtime-\(#line)"
        let logger = Logger(label: label, factory: { _ in log }).queued
        #expect(logger.logLevel == .info)
        try LogLevels.shared.set(.trace, for: label)
        #expect(logger.logLevel == .trace)
        LogLevels.shared.reset(label)
        #expect(logger.logLevel == .info)
    }
}
