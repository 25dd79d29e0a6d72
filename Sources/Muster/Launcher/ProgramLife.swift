// SPDX-License-Identifier: Apache-2.0

import CMuster
import Logging
import MusterExecution
import MusterLock
import MusterMetrics
import MusterPlatform

/// What the lives of all programs, supervisor, worker and single process, have in common: they run once, from `wait` or
/// `run` to an exit status; they handle events and signals, become ready, and record the first failure.
final class ProgramLife<Event: Sendable>: Sendable {
    private struct State {
        var hasBegun = false
        var handler: (@Sendable (Event) -> Void)?
        /// Events from before there was a handler.
        var early: [Event] = []
        var subscriptions: [SignalCenter.Subscription] = []
        var failure: (any Error)?
        var isReady = false
        var onReady: [@Sendable () -> Void] = []
    }

    private let terminal = ControllingTerminal()
    private let makeLogger: @Sendable () -> Logger
    private let failed: @Sendable (any Error) -> Void
    private let state = Locked(State())
    private let over = Completion<ExitStatus>()

    /// - Parameters:
    ///   - logger: Called for each message: the metadata of a warm spare changes with its slot.
    ///   - failed: Called with the first error.
    init(logger: @escaping @Sendable () -> Logger, failed: @escaping @Sendable (any Error) -> Void = { _ in }) {
        makeLogger = logger
        self.failed = failed
        // A log whose reader has gone, or a full disk, is an error of the write, not the end of the process.
        cmuster_discard_write_signals()
    }

    var logger: Logger { makeLogger() }

    var isOver: Bool { over.value != nil }

    // MARK: Running

    /// Runs on the calling thread, which serves the loop.
    func wait(on makeLoop: () throws -> EventLoop, begin: (EventLoop) throws -> Void) -> ExitStatus {
        do {
            try start()
            let loop = try makeLoop()
            if NativeThread.isMain { try loop.serveMainQueue() }
            try begin(loop)
            over.whenComplete { _ in
                loop.submit {
                    SignalCenter.shared.withdraw(from: loop)
                    loop.leave()
                }
            }
            try loop.run()
        } catch {
            return refuse(error)
        }
        return over.value ?? .failure
    }

    /// Runs without a thread of the caller's, for an asynchronous `main`.
    ///
    /// - Parameter end: The event that a cancelled task sends. The shutdown is awaited nevertheless.
    func run(end: Event, begin: () throws -> Void) async -> ExitStatus {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                run(begin: begin) { continuation.resume(returning: $0) }
            }
        } onCancel: {
            submit(end)
        }
    }

    /// Runs without a thread of the caller's.
    func run(begin: () throws -> Void, ended: @escaping @Sendable (ExitStatus) -> Void) {
        do {
            try start()
            try begin()
        } catch {
            return ended(refuse(error))
        }
        over.whenComplete(ended)
    }

    private func start() throws(ServicesError) {
        let isFirst = state.withLock { state in
            defer { state.hasBegun = true }
            return !state.hasBegun
        }
        guard isFirst else { throw .alreadyStarted }
    }

    /// Fails where the limits of the process leave no thread: later, it would be waited for without an end.
    static func checkThreads() throws(SystemError) {
        try NativeThread.start(name: "muster-check") {}
    }

    func finish(_ status: ExitStatus) {
        let subscriptions = state.withLock { state in
            defer { state.subscriptions = [] }
            return state.subscriptions
        }
        for subscription in subscriptions { SignalCenter.shared.unsubscribe(subscription) }
        logger.info("stopped", metadata: ["exit_code": "\(status)"])
        over.complete(with: status)
    }

    // MARK: Events

    /// Handles an event; keeps it when it comes before ``open(_:)``.
    func submit(_ event: Event) {
        let handler = state.withLock { state in
            if state.handler == nil { state.early.append(event) }
            return state.handler
        }
        handler?(event)
    }

    /// Handles events from now on, beginning with the early ones.
    func open(_ handler: @escaping @Sendable (Event) -> Void) {
        let early = state.withLock { state in
            state.handler = handler
            defer { state.early = [] }
            return state.early
        }
        for event in early { handler(event) }
    }

    // MARK: Signals

    /// Calls a closure at each delivery of a signal.
    func subscribe(
        _ signal: UnixSignal, countedBy counters: CounterFamily? = nil, _ receive: @escaping @Sendable () -> Void
    ) throws {
        let counter = counters?.labels(signal.description)
        let subscription = try SignalCenter.shared.subscribe(signal, countedBy: counter) { [weak self] signal in
            if counter != nil { self?.logger.info("received signal", metadata: ["signal": "\(signal)"]) }
            receive()
        }
        state.withLock { $0.subscriptions.append(subscription) }
    }

    /// Whether a SIGHUP that came just now ends the program instead of reloading it; says so in the log.
    func endsAtHangUp() -> Bool {
        guard terminal.endsAtHangUp else { return false }
        logger.notice("terminal hangup; stopping: only a program without a terminal, or in its background, reloads")
        return true
    }

    // MARK: Failure

    /// The first error.
    var failure: (any Error)? { state.withLock { $0.failure } }

    /// Logs why the program cannot run, and records it.
    @discardableResult
    func refuse(_ error: any Error) -> ExitStatus {
        logger.critical("cannot run", metadata: ["error": "\(error)"])
        if record(error) { failed(error) }
        return .failure
    }

    /// Records an error without calling `failed`; returns whether it is the first one.
    @discardableResult
    func record(_ error: any Error) -> Bool {
        state.withLock { state in
            guard state.failure == nil else { return false }
            state.failure = error
            return true
        }
    }

    // MARK: Readiness

    /// Calls a closure once the program is ready; at once when it is.
    func whenReady(_ action: @escaping @Sendable () -> Void) {
        let isReady = state.withLock { state in
            if !state.isReady { state.onReady.append(action) }
            return state.isReady
        }
        if isReady { action() }
    }

    /// Sets the readiness; returns what is to be called now, which the caller does without its locks.
    func setReady(_ isReady: Bool) -> [@Sendable () -> Void] {
        state.withLock { state in
            state.isReady = isReady
            guard isReady else { return [] }
            defer { state.onReady = [] }
            return state.onReady
        }
    }
}
