// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import Logging
import MusterExecution
import MusterLock
import MusterMetrics
public import MusterPlatform

/// Runs handlers of signals as jobs of the backend: they may await, allocate and lock.
///
/// An object that has handlers stays, also if the program does not keep it, until ``clear()``.
///
/// The handlers of a signal run one after the other, the last added first, and deliveries are handled one by one.
public final class SignalHandler: Sendable, BackendComponent {
    private typealias Handler = @Sendable (UnixSignal) async -> Void

    private struct State {
        var handlers: [UnixSignal: [Handler]] = [:]
        var subscriptions: [UnixSignal: SignalCenter.Subscription] = [:]
        var ignored: Set<UnixSignal> = []
        var pending: [UnixSignal] = []
        var isHandling = false
    }

    private let backend: Backend
    private let deliveries: CounterFamily
    private let state = Locked(State())

    /// Creates an object without handlers.
    ///
    /// - Throws: ``BackendError`` when no backend can be selected; `MetricError` when the application has another metric
    ///   `muster_signals_total`.
    public init(backend: Backend? = nil) throws {
        self.backend = try backend ?? Backend.current
        deliveries = try self.backend.metrics.counterFamily(
            "muster_signals_total", help: "Signals received.", labelNames: ["signal"])
    }

    /// Whether the system has a signal of a name.
    public static func isSignalSupported(_ name: String) -> Bool {
        UnixSignal(name: name) != nil
    }

    /// Adds a handler, which runs before the signal's other ones.
    ///
    /// - Throws: `SignalError` for a signal that cannot be handled (SIGKILL, SIGSTOP).
    public func addHandler(for signal: UnixSignal, _ handler: @escaping @Sendable (UnixSignal) async -> Void)
        throws
    {
        try state.withLock { state throws(SignalError) in
            if state.subscriptions[signal] == nil {
                let subscription = try SignalCenter.shared.subscribe(
                    signal, countedBy: deliveries.labels(signal.description)
                ) { [self] in received($0) }
                state.subscriptions[signal] = subscription
            }
            state.handlers[signal, default: []].append(handler)
            state.ignored.remove(signal)
        }
    }

    /// Adds one handler for several signals.
    ///
    /// - Throws: `SignalError` for the first signal that cannot be handled.
    public func addHandlers(for signals: [UnixSignal], _ handler: @escaping @Sendable (UnixSignal) async -> Void)
        throws
    {
        for signal in signals { try addHandler(for: signal, handler) }
    }

    /// Removes all handlers; their signals, and the ignored ones, get their default actions back.
    public func clear() {
        let (subscriptions, ignored) = state.withLock { state in
            defer {
                state.handlers = [:]
                state.subscriptions = [:]
                state.ignored = []
            }
            return (Array(state.subscriptions.values), state.ignored)
        }
        for subscription in subscriptions { SignalCenter.shared.unsubscribe(subscription) }
        for signal in ignored { SignalCenter.shared.endIgnoring(signal) }
    }

    /// Removes a signal's handlers and ignores the signal.
    ///
    /// - Throws: `SignalError` for a signal that cannot be ignored (SIGKILL, SIGSTOP).
    public func ignore(_ signal: UnixSignal) throws {
        try state.withLock { state throws(SignalError) in
            try SignalCenter.shared.ignore(signal, ending: state.subscriptions[signal])
            state.subscriptions[signal] = nil
            state.handlers[signal] = nil
            state.ignored.insert(signal)
        }
    }

    private func received(_ signal: UnixSignal) {
        let mustStart = state.withLock { state in
            state.pending.append(signal)
            defer { state.isHandling = true }
            return !state.isHandling
        }
        guard mustStart else { return }
        do {
            try backend.engine.spawn(name: "signals") { [self] in await handlePending() }
        } catch {
            state.withLock { state in
                state.isHandling = false
                state.pending = []
            }
            backend.logger.error(
                "cannot handle signal", metadata: ["signal": "\(signal)", "error": "\(error)"])
        }
    }

    private func handlePending() async {
        while let (signal, handlers) = next() {
            for handler in handlers.reversed() { await handler(signal) }
        }
    }

    private func next() -> (UnixSignal, [Handler])? {
        state.withLock { state in
            guard !state.pending.isEmpty else {
                state.isHandling = false
                return nil
            }
            let signal = state.pending.removeFirst()
            return (signal, state.handlers[signal] ?? [])
        }
    }
}

/// The process' signals: an event loop reads the pipe that a C handler writes to, and calls the subscribers, the last
/// one first.
///
/// It is the auxiliary loop, whose thread runs no job, so that signals work even if every job hangs. A supervised process
/// saves that thread (``deliver(on:)``).
final class SignalCenter: Sendable {
    typealias Receiver = @Sendable (UnixSignal) -> Void

    struct Subscription: Hashable, Sendable {
        fileprivate let signal: UnixSignal
        fileprivate let number: UInt64
    }

    fileprivate struct Entry: Sendable {
        let number: UInt64
        let counter: CounterMetric?
        let receive: Receiver
    }

    fileprivate struct State {
        var receivers: [UnixSignal: [Entry]] = [:]
        var lastNumber: UInt64 = 0
        var isWatching = false
        var watch: EventLoop.Watch?
        var loop = EventLoop.auxiliary
    }

    static let shared = SignalCenter()

    private let state = Locked(State())

    /// Lets another loop receive the signals, unless signals are received already.
    func deliver(on loop: EventLoop) {
        state.withLock { state in
            if !state.isWatching { state.loop = loop }
        }
    }

    /// Calls a closure at each delivery of a signal, on a thread that must not be blocked.
    ///
    /// The signal's action changes under the lock, so that an ending subscription cannot undo another one.
    ///
    /// - Parameter counter: Counts the deliveries; several subscriptions with the same one count each once.
    func subscribe(
        _ signal: UnixSignal, countedBy counter: CounterMetric? = nil, _ receive: @escaping Receiver
    ) throws(SignalError) -> Subscription {
        let mustWatch = state.withLock { state in
            defer { state.isWatching = true }
            return !state.isWatching
        }
        if mustWatch { try watchPipe(for: signal) }
        return try state.withLock { state throws(SignalError) in
            let code = cmuster_signal_install(signal.rawValue)
            if code != 0 { throw .notHandleable(signal, SystemError("sigaction", code: code)) }
            state.lastNumber += 1
            state.receivers[signal, default: []].append(
                Entry(number: state.lastNumber, counter: counter, receive: receive))
            return Subscription(signal: signal, number: state.lastNumber)
        }
    }

    private func watchPipe(for signal: UnixSignal) throws(SignalError) {
        let pipe = cmuster_signal_pipe_open()
        guard pipe >= 0 else {
            let error = SystemError("pipe2")
            state.withLock { $0.isWatching = false }
            throw .notHandleable(signal, error)
        }
        let loop = state.withLock { $0.loop }
        loop.submit { [self] in
            do {
                let watch = try loop.watch(pipe, for: .readable) { [self] _ in deliver(from: pipe) }
                state.withLock { $0.watch = watch }
            } catch {
                // Retried with the next subscription.
                state.withLock { $0.isWatching = false }
            }
        }
    }

    /// Ends a subscription; after its last one a signal gets its default action back.
    func unsubscribe(_ subscription: Subscription) {
        state.withLock { state in
            if state.remove(subscription) { _ = cmuster_signal_restore_default(subscription.signal.rawValue) }
        }
    }

    /// Takes back ``deliver(on:)`` once nobody receives signals, so that the loop can do without a thread. To be called on the
    /// loop's thread.
    func withdraw(from loop: EventLoop) {
        let watch = state.withLock { state -> EventLoop.Watch? in
            guard state.loop === loop, state.receivers.isEmpty, let watch = state.watch.take() else { return nil }
            state.isWatching = false
            state.loop = .auxiliary
            return watch
        }
        if let watch { loop.unwatch(watch) }
    }

    /// Ignores a signal, without a moment at which its default action applies, and ends a subscription.
    func ignore(_ signal: UnixSignal, ending subscription: Subscription?) throws(SignalError) {
        try state.withLock { state throws(SignalError) in
            let code = cmuster_signal_ignore(signal.rawValue)
            if code != 0 { throw .notHandleable(signal, SystemError("sigaction", code: code)) }
            if let subscription { _ = state.remove(subscription) }
        }
    }

    /// Gives an ignored signal its default action back, unless there is a new subscription.
    func endIgnoring(_ signal: UnixSignal) {
        state.withLock { state in
            if state.receivers[signal] == nil { _ = cmuster_signal_restore_default(signal.rawValue) }
        }
    }

    /// Begins and ends a subscription without any signal, for a dry run.
    static func dryRun() {
        SignalCenter().state.withLock { state in
            state.receivers[.terminate, default: []].append(Entry(number: 1, counter: nil, receive: { _ in }))
            _ = state.remove(Subscription(signal: .terminate, number: 1))
        }
    }

    private func deliver(from pipe: Int32) {
        var bytes = [UInt8](repeating: 0, count: 256)
        while true {
            let count = read(pipe, &bytes, bytes.count)
            guard count > 0 else { return }
            for byte in bytes[..<count] {
                let signal = UnixSignal(rawValue: Int32(byte))
                let receivers = state.withLock { $0.receivers[signal] ?? [] }
                var counted: [CounterMetric] = []
                for case let counter? in receivers.map(\.counter) where !counted.contains(where: counter.isSame) {
                    counter.increment()
                    counted.append(counter)
                }
                for entry in receivers.reversed() { entry.receive(signal) }
            }
        }
    }
}

extension SignalCenter.State {
    /// Ends a subscription; returns whether it was the signal's last one.
    fileprivate mutating func remove(_ subscription: SignalCenter.Subscription) -> Bool {
        guard var receivers = receivers[subscription.signal] else { return false }
        receivers.removeAll { $0.number == subscription.number }
        self.receivers[subscription.signal] = receivers.isEmpty ? nil : receivers
        return receivers.isEmpty
    }
}

/// Why a signal cannot be handled.
package enum SignalError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The system refuses a handler.
    case notHandleable(UnixSignal, SystemError)

    package var description: String {
        switch self {
        case .notHandleable(let signal, let error):
            "\(signal) cannot be handled or ignored: \(error)"
        }
    }
}
