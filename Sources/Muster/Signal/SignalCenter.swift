// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterPlatform

/// The process' signals: what a C handler has written to the signal pipe is read on one event loop and told to the
/// subscribers of the signal, the last one first.
///
/// That loop is the auxiliary one, whose thread runs no job, so that a signal gets through although every job hangs;
/// a process that is supervised by another one can do without that thread (``deliver(on:)``).
final class SignalCenter: Sendable {
    typealias Receiver = @Sendable (UnixSignal) -> Void

    /// Names one subscription.
    struct Subscription: Hashable, Sendable {
        fileprivate let signal: UnixSignal
        fileprivate let number: UInt64
    }

    fileprivate struct State {
        var receivers: [UnixSignal: [(number: UInt64, receive: Receiver)]] = [:]
        var lastNumber: UInt64 = 0
        var isWatching = false
        var loop = EventLoop.auxiliary
    }

    static let shared = SignalCenter()

    private let state = Locked(State())

    /// Makes a loop the one whose thread takes the signals, unless signals are taken already.
    func deliver(on loop: EventLoop) {
        state.withLock { state in
            if !state.isWatching { state.loop = loop }
        }
    }

    /// Calls a closure for each delivery of a signal, in no job and on a thread that must not be blocked.
    ///
    /// The signal's action is changed under the lock, so that one subscriber's end cannot undo another's begin.
    func subscribe(_ signal: UnixSignal, _ receive: @escaping Receiver) throws(SignalError) -> Subscription {
        let mustWatch = state.withLock { state in
            defer { state.isWatching = true }
            return !state.isWatching
        }
        if mustWatch { try watchPipe(for: signal) }
        return try state.withLock { state throws(SignalError) in
            let code = cmuster_signal_install(signal.rawValue)
            if code != 0 { throw .notHandleable(signal, SystemError("sigaction", code: code)) }
            state.lastNumber += 1
            state.receivers[signal, default: []].append((state.lastNumber, receive))
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
                _ = try loop.watch(pipe, for: .readable) { [self] _ in deliver(from: pipe) }
            } catch {
                // Tried again with the next subscription.
                state.withLock { $0.isWatching = false }
            }
        }
    }

    /// Ends a subscription; the last one of a signal gives the signal its default action back.
    func unsubscribe(_ subscription: Subscription) {
        state.withLock { state in
            if state.remove(subscription) { _ = cmuster_signal_restore_default(subscription.signal.rawValue) }
        }
    }

    /// Makes the process ignore a signal, with no moment in between at which its default action would be taken.
    ///
    /// - Parameters:
    ///   - signal: The signal.
    ///   - subscription: A subscription of it that ends with this.
    func ignore(_ signal: UnixSignal, ending subscription: Subscription?) throws(SignalError) {
        try state.withLock { state throws(SignalError) in
            let code = cmuster_signal_ignore(signal.rawValue)
            if code != 0 { throw .notHandleable(signal, SystemError("sigaction", code: code)) }
            if let subscription { _ = state.remove(subscription) }
        }
    }

    /// Gives a signal that was ignored its default action back, unless somebody has subscribed to it since.
    func endIgnoring(_ signal: UnixSignal) {
        state.withLock { state in
            if state.receivers[signal] == nil { _ = cmuster_signal_restore_default(signal.rawValue) }
        }
    }

    /// Takes and ends a subscription that no signal knows of, for ``Rehearsal``.
    static func rehearse() {
        SignalCenter().state.withLock { state in
            state.receivers[.terminate, default: []].append((1, { _ in }))
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
                for (_, receive) in receivers.reversed() { receive(signal) }
            }
        }
    }
}

extension SignalCenter.State {
    /// Ends a subscription.
    ///
    /// - Returns: Whether it was the signal's last one.
    fileprivate mutating func remove(_ subscription: SignalCenter.Subscription) -> Bool {
        guard var receivers = receivers[subscription.signal] else { return false }
        receivers.removeAll { $0.number == subscription.number }
        self.receivers[subscription.signal] = receivers.isEmpty ? nil : receivers
        return receivers.isEmpty
    }
}
