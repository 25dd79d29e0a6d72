// SPDX-License-Identifier: Apache-2.0

import MusterLock
package import MusterPlatform

/// A one-shot event with a value: set once, awaited by any number of tasks.
package final class Completion<Value: Sendable>: Sendable {
    private typealias Waiter = UnsafeContinuation<Value?, Never>

    private enum Registration {
        case value(Value)
        case cancelled
        case waiting
    }

    private struct State {
        var value: Value?
        /// Whether the callbacks that were there have run. Waiters go on only then, also those that come late.
        var isAnnounced = false
        var nextTicket: UInt64 = 0
        var waiters: [UInt64: Waiter] = [:]
        var cancelledEarly: Set<UInt64> = []
        var callbacks: [@Sendable (Value) -> Void] = []
    }

    private let state = Locked(State())

    package init() {}

    /// The value, once set.
    package var value: Value? { state.withLock { $0.value } }

    /// Sets the value, runs every callback and then resumes every waiter: who waits finds the callbacks' work done.
    ///
    /// - Returns: `false` when it was set before; the first value stays.
    @discardableResult
    package func complete(with value: Value) -> Bool {
        let callbacks: [@Sendable (Value) -> Void]? = state.withLock { state in
            guard state.value == nil else { return nil }
            state.value = value
            return state.callbacks
        }
        guard let callbacks else { return false }
        for callback in callbacks { callback(value) }
        var waiters: [UInt64: Waiter] = [:]
        state.withLock { state in
            state.isAnnounced = true
            // What the callbacks hold is let go of with them.
            state.callbacks = []
            swap(&waiters, &state.waiters)
        }
        for waiter in waiters.values { waiter.resume(returning: value) }
        return true
    }

    /// Runs a closure when the event happens, on the thread that sets the value; at once when it has happened.
    package func whenComplete(_ callback: @escaping @Sendable (Value) -> Void) {
        let value: Value? = state.withLock { state in
            if state.value == nil { state.callbacks.append(callback) }
            return state.value
        }
        if let value { callback(value) }
    }

    /// Waits for the event.
    ///
    /// - Throws: `CancellationError` as soon as the waiting task is cancelled.
    package func wait() async throws(CancellationError) -> Value {
        if let value = announced { return value }
        let ticket = state.withLock { state in
            state.nextTicket += 1
            return state.nextTicket
        }
        let value: Value? = await withTaskCancellationHandler {
            await withUnsafeContinuation { (waiter: Waiter) in
                switch register(waiter, ticket: ticket) {
                case .value(let value): waiter.resume(returning: value)
                case .cancelled: waiter.resume(returning: nil)
                case .waiting: break
                }
            }
        } onCancel: {
            cancel(ticket)?.resume(returning: nil)
        }
        guard let value else { throw CancellationError() }
        return value
    }

    private var announced: Value? { state.withLock { $0.isAnnounced ? $0.value : nil } }

    private func register(_ waiter: Waiter, ticket: UInt64) -> Registration {
        state.withLock { state in
            let isCancelled = state.cancelledEarly.remove(ticket) != nil
            if state.isAnnounced, let value = state.value { return .value(value) }
            if isCancelled { return .cancelled }
            state.waiters[ticket] = waiter
            return .waiting
        }
    }

    private func cancel(_ ticket: UInt64) -> Waiter? {
        state.withLock { state in
            if let waiter = state.waiters.removeValue(forKey: ticket) { return waiter }
            if !state.isAnnounced { state.cancelledEarly.insert(ticket) }
            return nil
        }
    }

    /// Waits for the event until a deadline.
    ///
    /// - Parameters:
    ///   - deadline: The latest instant; `nil` waits without end.
    ///   - clock: The clock of the deadline.
    ///   - operation: What is waited for, for the error's text.
    /// - Throws: ``TimeLimitExceeded`` at the deadline; `CancellationError` when the waiting task is cancelled.
    package func wait(
        until deadline: MonotonicInstant?, clock: any RuntimeClock = SystemClock(), operation: String
    ) async throws -> Value {
        if let value = announced { return value }
        guard let deadline else { return try await wait() }
        return try await withThrowingTaskGroup(of: Value?.self) { group in
            group.addTask { try await self.wait() }
            group.addTask {
                try await clock.sleep(until: deadline)
                return nil
            }
            defer { group.cancelAll() }
            while let value = try await group.next() {
                if let value { return value }
                // Both may be over by now; what has happened counts.
                guard self.value != nil else { throw TimeLimitExceeded(operation) }
            }
            throw CancellationError()
        }
    }
}

/// Something was not over at its deadline.
public struct TimeLimitExceeded: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was waited for.
    package let operation: String

    package init(_ operation: String) {
        self.operation = operation
    }

    /// What was waited for.
    public var description: String { "\(operation) was not over at the deadline" }
}
