// SPDX-License-Identifier: Apache-2.0

#if Hummingbird
import HummingbirdCore
import MusterLock
import MusterNIO
import MusterPlatform
import NIOCore

/// One connection, and how it is closed without losing a request.
///
/// A client may send its next request in the moment in which the server closes a connection that is kept open. So an
/// HTTP/1 connection is not closed when the worker stops: the next response says `connection: close`, and the
/// connection is closed behind it. Only one on which no request comes for the grace period is closed without. HTTP/2
/// has GOAWAY for that, which its handler sends.
final class DrainingConnection: Sendable {
    /// The connection whose request is being answered.
    @TaskLocal static var current: DrainingConnection?

    private struct State {
        var requests = 0
        var isDraining = false
        /// Whether a response has announced the end.
        var isClosing = false
    }

    /// How long a client may take to close after the last response.
    private static let linger = TimeAmount.seconds(1)

    let channel: any Channel
    private let grace: TimeAmount
    private let state = Locked(State())

    init(_ channel: any Channel, grace: TimeAmount) {
        self.channel = channel
        self.grace = grace
    }

    func beginRequest() {
        state.withLock { $0.requests += 1 }
    }

    /// Whether the response whose head is about to be written is the last one.
    func closesWithNextResponse() -> Bool {
        state.withLock { state in
            if state.isDraining { state.isClosing = true }
            return state.isClosing
        }
    }

    func endRequest() {
        let (isIdle, isClosing) = state.withLock { state in
            state.requests -= 1
            return (state.isDraining && state.requests == 0, state.isClosing)
        }
        guard isIdle else { return }
        if isClosing {
            // After what has been written. The client closes its end; a request that it has sent already must not have
            // the kernel discard the response, so the connection stays for a moment.
            channel.close(mode: .output, promise: nil)
            closeIfIdle(in: min(grace, Self.linger))
        } else {
            closeIfIdle(in: grace)
        }
    }

    /// The worker stops.
    func drain() {
        let isIdle = state.withLock { state in
            state.isDraining = true
            return state.requests == 0
        }
        channel.eventLoop.execute { [channel] in
            if !channel.isHTTP1 { channel.quiesce() }
        }
        if isIdle { closeIfIdle(in: grace) }
    }

    /// Closes the connection after a time, unless a request has begun.
    private func closeIfIdle(in time: TimeAmount) {
        channel.eventLoop.scheduleTask(in: time) { [self] in
            // A request that the pipeline has and no task yet is answered first.
            if state.withLock({ $0.requests == 0 }) { channel.quiesce() }
        }
    }
}

extension Channel {
    /// Whether the connection speaks HTTP/1; to be called on its event loop.
    fileprivate var isHTTP1: Bool {
        (try? pipeline.syncOperations.context(handlerType: HTTPConnectionStateHandler.self)) != nil
    }
}
#endif
