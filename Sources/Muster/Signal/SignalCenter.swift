// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterPlatform

/// The process' signals: what a C handler has written to the signal pipe is read on the auxiliary loop's thread and
/// told to the subscribers of the signal, the last one first.
///
/// That thread runs no job, so a signal gets through although every job hangs.
final class SignalCenter: Sendable {
    typealias Receiver = @Sendable (UnixSignal) -> Void

    /// Names one subscription.
    struct Subscription: Hashable, Sendable {
        fileprivate let signal: UnixSignal
        fileprivate let number: UInt64
    }

    private struct State {
        var receivers: [UnixSignal: [(number: UInt64, receive: Receiver)]] = [:]
        var lastNumber: UInt64 = 0
        var isWatching = false
    }

    static let shared = SignalCenter()

    private let state = Locked(State())

    /// Calls a closure for each delivery of a signal, in no job and on a thread that must not be blocked.
    func subscribe(_ signal: UnixSignal, _ receive: @escaping Receiver) throws(SignalError) -> Subscription {
        let (subscription, isFirst, mustWatch) = state.withLock { state in
            state.lastNumber += 1
            let isFirst = state.receivers[signal, default: []].isEmpty
            state.receivers[signal, default: []].append((state.lastNumber, receive))
            defer { state.isWatching = true }
            return (Subscription(signal: signal, number: state.lastNumber), isFirst, !state.isWatching)
        }
        if mustWatch { try watchPipe(for: signal) }
        guard isFirst else { return subscription }
        let code = cmuster_signal_install(signal.rawValue)
        if code != 0 {
            _ = remove(subscription)
            throw .notHandleable(signal, SystemError("sigaction", code: code))
        }
        return subscription
    }

    private func watchPipe(for signal: UnixSignal) throws(SignalError) {
        let pipe = cmuster_signal_pipe_open()
        guard pipe >= 0 else {
            let error = SystemError("pipe2")
            state.withLock { $0.isWatching = false }
            throw .notHandleable(signal, error)
        }
        EventLoop.auxiliary.submit { [self] in
            do {
                _ = try EventLoop.auxiliary.watch(pipe, for: .readable) { [self] _ in deliver(from: pipe) }
            } catch {
                // Tried again with the next subscription.
                state.withLock { $0.isWatching = false }
            }
        }
    }

    /// Ends a subscription; the last one of a signal gives the signal its default action back.
    func unsubscribe(_ subscription: Subscription) {
        if remove(subscription) { _ = cmuster_signal_restore_default(subscription.signal.rawValue) }
    }

    private func remove(_ subscription: Subscription) -> Bool {
        state.withLock { state in
            guard var receivers = state.receivers[subscription.signal] else { return false }
            receivers.removeAll { $0.number == subscription.number }
            state.receivers[subscription.signal] = receivers.isEmpty ? nil : receivers
            return receivers.isEmpty
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
