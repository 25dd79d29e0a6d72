// SPDX-License-Identifier: Apache-2.0

import Foundation
import Logging
import MusterLock
import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite("Log queue")
struct LogQueueTests {
    /// Keeps what is logged, and waits while its gate is closed.
    private final class Handler: LogHandler, @unchecked Sendable {
        // Sound: `lock` guards what changes after the test has begun.
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        var metadataProvider: Logger.MetadataProvider?
        private let lock = NSCondition()
        private var isOpen: Bool
        private var lines: [(text: String, metadata: Logger.Metadata?)] = []

        init(isOpen: Bool) { self.isOpen = isOpen }

        func log(event: LogEvent) {
            lock.withLock {
                while !isOpen { lock.wait() }
                lines.append((event.message.description, event.metadata))
            }
        }

        func open() {
            lock.withLock {
                isOpen = true
                lock.broadcast()
            }
        }

        var messages: [String] { lock.withLock { lines.map(\.text) } }
        var latestMetadata: Logger.Metadata? { lock.withLock { lines.last?.metadata } }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
    }

    private func queue(isWritable: Bool = true, fails: Bool = false) -> LogQueue {
        LogQueue(isWritable: { isWritable }, hasWriteFailed: { fails })
    }

    private func logger(_ handler: Handler, on queue: LogQueue) -> Logger {
        Logger(label: "test", factory: { _ in handler }).queued(on: queue)
    }

    @Test("Messages arrive in order, and a flush waits for them")
    func order() {
        let (queue, handler) = (queue(), Handler(isOpen: true))
        let logger = logger(handler, on: queue)
        for number in 0..<500 { logger.info("\(number)") }
        queue.flush(within: .seconds(60))
        #expect(handler.messages == (0..<500).map { "\($0)" })
    }

    @Test("What finds no room is dropped, counted at once and told later; nobody waits")
    func full() {
        let (queue, handler) = (queue(), Handler(isOpen: false))
        let logger = logger(handler, on: queue)
        let before = Locked(0)
        for number in 0..<LogQueue.capacity + 100 { logger.info("\(number)") }
        queue.countDropped { count in before.withLock { $0 += count } }
        #expect(before.withLock { $0 } == 100)
        logger.info("one more")
        #expect(before.withLock { $0 } == 101)
        let begin = ContinuousClock.now
        queue.flush(within: .milliseconds(100))
        #expect(begin.duration(to: .now) < .seconds(30))
        handler.open()
        queue.flush(within: .seconds(60))
        let messages = handler.messages
        #expect(messages.filter { $0.hasPrefix("log messages dropped") }.count == 1)
        #expect(messages.filter { !$0.hasPrefix("log messages") } == (0..<LogQueue.capacity).map { "\($0)" })
    }

    @Test("A write that fails is counted")
    func failure() {
        let (queue, handler) = (queue(fails: true), Handler(isOpen: true))
        let count = Locked(0)
        queue.countDropped { number in count.withLock { $0 += number } }
        for _ in 0..<3 { logger(handler, on: queue).info("x") }
        queue.flush(within: .seconds(60))
        // Each once; nothing is said of it where nothing can be written.
        #expect(count.withLock { $0 } == 3)
        #expect(handler.messages == ["x", "x", "x"])
    }

    @Test("The caller writes itself while nobody has to wait, if that is wanted")
    func direct() {
        let (queue, handler) = (queue(), Handler(isOpen: true))
        queue.saveThread()
        logger(handler, on: queue).info("x")
        #expect(handler.messages == ["x"])
        let (blocked, closed) = (self.queue(isWritable: false), Handler(isOpen: false))
        blocked.saveThread()
        logger(closed, on: blocked).info("x")
        blocked.flush(within: .milliseconds(1))
        closed.open()
        blocked.flush(within: .seconds(60))
        #expect(closed.messages == ["x"])
    }

    @Test("A metadata provider is asked on the caller's thread; level and metadata are the handler's")
    func metadata() {
        let (queue, handler) = (queue(), Handler(isOpen: true))
        let caller = Locked(Int32(0))
        handler.metadataProvider = Logger.MetadataProvider {
            caller.withLock { $0 = NativeThread.currentIdentifier }
            return ["provided": "1", "both": "provider"]
        }
        var logger = logger(handler, on: queue)
        logger[metadataKey: "own"] = "2"
        logger.logLevel = .warning
        logger.info("left out")
        logger.error("x", metadata: ["both": "call"])
        queue.flush(within: .seconds(60))
        #expect(handler.messages == ["x"])
        #expect(handler.latestMetadata?["provided"] == "1")
        #expect(handler.latestMetadata?["both"] == "call")
        #expect(handler.metadata["own"] == "2")
        #expect(caller.withLock { $0 } == NativeThread.currentIdentifier)
        // Not wrapped twice.
        #expect(type(of: logger.queued(on: queue).handler) == type(of: logger.handler))
    }
}
