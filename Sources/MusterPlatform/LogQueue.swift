// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
package import Logging
import MusterLock

/// Passes log messages to the program's log handler on a thread that nobody waits for, so that a log that is not read
/// (a full pipe, a terminal at Ctrl-S, a full disk) stops neither supervision nor answers nor a shutdown.
///
/// The queue is bounded. Messages that find no room are dropped and counted, as are those whose writing failed; when
/// the log is read again, a warning says how many are missing.
package final class LogQueue: Sendable {
    /// The queue of the runtime's messages.
    package static let shared: LogQueue = {
        // Later than the handlers of the C++ library, and so before them: these flush the streams, and would wait for a
        // thread that is writing to one of them.
        atexit { LogQueue.shared.end() }
        return LogQueue()
    }()

    /// How many messages wait at most.
    package static let capacity = 1024
    /// How long the end of the process waits for a log that is not read.
    private static let endTime = Duration.seconds(1)

    private struct State {
        var waiting = 0
        /// The kernel's number of the thread that writes.
        var thread: Int32 = 0
        var isSavingThread = false
        /// Not yet told in the log.
        var dropped = 0
        var uncounted = 0
        var count: (@Sendable (Int) -> Void)?
    }

    private let state = Locked(State())
    private let loop: EventLoop
    private let isWritable: @Sendable () -> Bool
    private let hasWriteFailed: @Sendable () -> Bool

    package convenience init() {
        self.init(isWritable: StandardStreams.areWritable, hasWriteFailed: StandardStreams.takeFailure)
    }

    init(isWritable: @escaping @Sendable () -> Bool, hasWriteFailed: @escaping @Sendable () -> Bool) {
        // Where no thread is to be had, the messages wait for the next one that comes, or for the end of the process.
        loop = .onDemand(name: "muster-log") { loop in
            try? loop.attachThread(name: "muster-log", keepAlive: .seconds(10))
        }
        self.isWritable = isWritable
        self.hasWriteFailed = hasWriteFailed
    }

    /// Lets the caller of a log method write while the standard streams take it, as it does in a worker, whose thread
    /// the supervisor watches over; the queue's thread starts only when they do not.
    package func saveThread() {
        state.withLock { $0.isSavingThread = true }
    }

    /// Counts dropped messages from now on, and those so far at once.
    package func countDropped(_ count: @escaping @Sendable (Int) -> Void) {
        let dropped = state.withLock { state in
            defer { state.uncounted = 0 }
            state.count = count
            return state.uncounted
        }
        count(dropped)
    }

    /// Waits until all messages so far are written, but no longer than the duration.
    package func flush(within duration: Duration) {
        guard isWaiting else { return }
        let written = ParkingLot()
        loop.submit { written.unpark() }
        written.wait(until: MonotonicInstant.now.advanced(by: duration).nanoseconds)
    }

    private var isWaiting: Bool { state.withLock { $0.waiting > 0 } }

    private func end() {
        if isWaiting, !loop.isRunning, isWritable() {
            try? loop.run(keepAlive: .zero)
            return
        }
        flush(within: Self.endTime)
        guard isWaiting else { return }
        // Nobody will ever read it, and its thread holds the stream's lock.
        cmuster_abandon_streams(state.withLock { $0.thread })
        flush(within: Self.endTime)
    }

    private enum Place {
        case caller, queue, nowhere
    }

    fileprivate func submit(_ event: LogEvent, to handler: any LogHandler, level: LabelLevel) {
        let place = state.withLock { state -> Place in
            if state.isSavingThread, state.waiting == 0, isWritable() { return .caller }
            guard state.waiting < Self.capacity else { return .nowhere }
            state.waiting += 1
            return .queue
        }
        switch place {
        case .caller: write(event, to: handler, level)
        case .nowhere: drop()
        case .queue:
            loop.submit { [self] in
                // A terminal would otherwise stop a program in its background that writes to it (stty tostop).
                cmuster_signal_block(SIGTTOU)
                state.withLock { $0.thread = NativeThread.currentIdentifier }
                let isWritten = write(event, to: handler, level)
                let hasRoom = state.withLock { state in
                    state.waiting -= 1
                    return state.waiting < Self.capacity / 2
                }
                if isWritten, hasRoom { tellDropped(to: handler, level) }
            }
        }
    }

    /// Returns whether it was written.
    @discardableResult
    private func write(_ event: LogEvent, to handler: any LogHandler, _ level: LabelLevel) -> Bool {
        let isWritten = isWritten(event, to: handler, level)
        if !isWritten { drop() }
        return isWritten
    }

    private func isWritten(_ event: LogEvent, to handler: any LogHandler, _ level: LabelLevel) -> Bool {
        // What others have written to the same streams does not count.
        _ = hasWriteFailed()
        handler.write(event, level: level)
        return !hasWriteFailed()
    }

    private func drop() {
        let count = state.withLock { state in
            state.dropped += 1
            if state.count == nil { state.uncounted += 1 }
            return state.count
        }
        count?(1)
    }

    private func tellDropped(to handler: any LogHandler, _ level: LabelLevel) {
        let dropped = state.withLock { state in
            defer { state.dropped = 0 }
            return state.dropped
        }
        guard dropped > 0, handler.logLevel <= .warning else { return }
        let event = LogEvent(
            level: .warning, message: "log messages dropped: nobody read the log, or it could not be written",
            metadata: ["count": "\(dropped)"], source: "Muster", file: #fileID, function: #function, line: #line)
        if !isWritten(event, to: handler, level) { state.withLock { $0.dropped += dropped } }
    }
}

/// The streams that log handlers usually write to.
private enum StandardStreams {
    /// Whether a line can be written to both without waiting.
    static let areWritable: @Sendable () -> Bool = {
        var entries = [STDOUT_FILENO, STDERR_FILENO].map { pollfd(fd: $0, events: Int16(POLLOUT), revents: 0) }
        // An error makes no one wait: the write reports it.
        return poll(&entries, nfds_t(entries.count), 0) == entries.count
    }

    /// Whether a write has failed since the last call.
    static let takeFailure: @Sendable () -> Bool = { cmuster_take_stream_failure() }
}

/// Hands messages to a ``LogQueue`` in place of the handler that it wraps.
private struct QueuedLogHandler: LogHandler {
    let queue: LogQueue
    var base: any LogHandler
    let level: LabelLevel

    func log(event: LogEvent) {
        var event = event
        // On the caller's thread, to which the provider's task-local values belong.
        if let provided = base.metadataProvider?.get(), !provided.isEmpty {
            event.metadata = provided.merging(event.metadata ?? [:]) { _, explicit in explicit }
        }
        queue.submit(event, to: base, level: level)
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { base[metadataKey: key] }
        set { base[metadataKey: key] = newValue }
    }

    var metadata: Logger.Metadata {
        get { base.metadata }
        set { base.metadata = newValue }
    }

    var metadataProvider: Logger.MetadataProvider? {
        get { base.metadataProvider }
        set { base.metadataProvider = newValue }
    }

    var logLevel: Logger.Level {
        get { level.chosen ?? base.logLevel }
        set { base.logLevel = newValue }
    }
}

extension Logger {
    /// The logger, whose callers never wait for the log.
    package var queued: Logger { queued(on: .shared) }

    func queued(on queue: LogQueue) -> Logger {
        guard !(handler is QueuedLogHandler) else { return self }
        let level = LogLevels.shared.cell(of: label, usual: handler.logLevel)
        return Logger(label: label, factory: { _ in QueuedLogHandler(queue: queue, base: handler, level: level) })
    }
}
