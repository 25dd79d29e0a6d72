// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterExecution
import MusterMetrics
import MusterPlatform

/// Handlers of signals, run as jobs of the backend: they may await, allocate and lock, and no signal interrupts one.
///
/// Of the handlers of one signal the last one added runs first, and a delivery is handled to its end before the next
/// one is. It works whatever the program's `main` is, synchronous or not.
///
/// Upstream: `SignalHandler`, on one behaviour for both backends.
public final class SignalHandler: Sendable, BackendComponent {
    /// The component's name.
    public static let componentName = "SignalHandler"

    /// What handles a signal.
    public typealias Handler = @Sendable (UnixSignal) async -> Void

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

    /// Creates a handler of no signal.
    ///
    /// - Parameter backend: The backend whose jobs the handlers are; the selected one when `nil`.
    /// - Throws: ``BackendError`` when none can be selected; `MetricError` when the application has taken the name
    ///   `muster_signals_total` for something else.
    public init(backend: Backend? = nil) throws {
        self.backend = try backend ?? Backend.current
        deliveries = try self.backend.metrics.counterFamily(
            "muster_signals_total", help: "Signals received.", labelNames: ["signal"])
    }

    deinit {
        for subscription in state.withLock({ $0.subscriptions.values.map { $0 } }) {
            SignalCenter.shared.unsubscribe(subscription)
        }
    }

    /// Whether the system has a signal of a name.
    ///
    /// Upstream: `is_signal_supported`.
    ///
    /// - Parameter name: The name, for example `SIGHUP`.
    public static func isSignalSupported(_ name: String) -> Bool {
        UnixSignal(name: name) != nil
    }

    /// Adds a handler, which runs before those that the signal has already.
    ///
    /// Upstream: `add_handler`.
    ///
    /// - Parameters:
    ///   - signal: The signal.
    ///   - handler: What handles it.
    /// - Throws: ``SignalError`` for a signal that cannot be handled (SIGKILL, SIGSTOP).
    public func addHandler(for signal: UnixSignal, _ handler: @escaping Handler) throws(SignalError) {
        try state.withLock { state throws(SignalError) in
            if state.subscriptions[signal] == nil {
                let subscription = try SignalCenter.shared.subscribe(signal) { [weak self] in self?.received($0) }
                state.subscriptions[signal] = subscription
            }
            state.handlers[signal, default: []].append(handler)
            state.ignored.remove(signal)
        }
        deliveries.labels(signal.description).increment(by: 0)
    }

    /// Adds one handler for several signals.
    ///
    /// Upstream: `add_handlers`.
    ///
    /// - Parameters:
    ///   - signals: The signals.
    ///   - handler: What handles each of them.
    /// - Throws: ``SignalError`` for the first signal that cannot be handled.
    public func addHandlers(for signals: [UnixSignal], _ handler: @escaping Handler) throws(SignalError) {
        for signal in signals { try addHandler(for: signal, handler) }
    }

    /// Removes all handlers and gives their signals, and the ignored ones, their default action back.
    ///
    /// Upstream: `clear`.
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
    /// Upstream: `ignore_handler`.
    ///
    /// - Parameter signal: The signal.
    /// - Throws: ``SignalError`` for a signal that cannot be ignored (SIGKILL, SIGSTOP).
    public func ignore(_ signal: UnixSignal) throws(SignalError) {
        try state.withLock { state throws(SignalError) in
            try SignalCenter.shared.ignore(signal, ending: state.subscriptions[signal])
            state.subscriptions[signal] = nil
            state.handlers[signal] = nil
            state.ignored.insert(signal)
        }
    }

    private func received(_ signal: UnixSignal) {
        deliveries.labels(signal.description).increment()
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
                "signal is not handled", metadata: ["signal": "\(signal)", "error": "\(error)"])
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
