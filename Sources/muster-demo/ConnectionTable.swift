// SPDX-License-Identifier: Apache-2.0

import Muster
import NIOCore

/// The connections of one HTTP server. It belongs to the server's event loop.
final class ConnectionTable {
    /// Whether each connection is closed after its next answer.
    private(set) var isDraining = false

    private let eventLoop: any NIOCore.EventLoop
    private var connections: [ObjectIdentifier: RequestHandler] = [:]
    private var timers: [Scheduled<Void>] = []
    private var waiters: [EventLoopPromise<Void>] = []

    init(eventLoop: any NIOCore.EventLoop) {
        self.eventLoop = eventLoop
    }

    func add(_ connection: RequestHandler) {
        connections[ObjectIdentifier(connection)] = connection
    }

    func remove(_ connection: RequestHandler) {
        connections[ObjectIdentifier(connection)] = nil
        finishIfEmpty()
    }

    /// From now on each connection is closed after its next answer. One without a request is kept for a grace,
    /// because its client may be sending one right now.
    func beginDraining(grace: Duration, until deadline: MonotonicInstant?) {
        guard !isDraining else { return }
        isDraining = true
        let left = deadline.map { MonotonicInstant.now.duration(to: $0) }
        schedule(in: left.map { min(grace, $0) } ?? grace) { $0.closeIfWaiting() }
        if let left { schedule(in: left) { $0.close() } }
        finishIfEmpty()
    }

    /// Closes every connection, whatever it is doing.
    func closeAll() {
        isDraining = true
        for connection in Array(connections.values) { connection.close() }
        finishIfEmpty()
    }

    /// Done when the server drains, or is closed, and the last connection is gone.
    func whenGone() -> EventLoopFuture<Void> {
        let promise = eventLoop.makePromise(of: Void.self)
        waiters.append(promise)
        finishIfEmpty()
        return promise.futureResult
    }

    private func schedule(in delay: Duration, _ action: @escaping (RequestHandler) -> Void) {
        let timer = eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(max(0, delay.clampedNanoseconds))) {
            // Closing takes a connection off the table.
            for connection in Array(self.connections.values) { action(connection) }
        }
        timers.append(timer)
    }

    private func finishIfEmpty() {
        guard isDraining, connections.isEmpty else { return }
        for timer in timers { timer.cancel() }
        timers = []
        let done = waiters
        waiters = []
        for waiter in done { waiter.succeed() }
    }
}
