// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// Native threads for lease, each running an event loop of its own. A thread starts with the first lease that finds
/// none idle, is used again by later leases, and ends after some time without one.
final class ThreadPool: Sendable {
    private struct State {
        var idle: [EventLoop] = []
        var leased = 0
        var threads = 0
        var isClosed = false
    }

    struct Configuration: Sendable {
        /// The threads' name while they are not leased.
        var name: String
        /// The most threads on lease at a time.
        var limit: Int
        /// The most threads kept without a lease.
        var idleLimit: Int
        /// How long a thread stays without a lease.
        var keepAlive: Duration
        /// Each thread's stack in bytes.
        var stackSize: Int
    }

    private let configuration: Configuration
    private let state = Locked(State())
    private let threadsChanged: @Sendable (Int) -> Void

    init(_ configuration: Configuration, threadsChanged: @escaping @Sendable (Int) -> Void = { _ in }) {
        self.configuration = configuration
        self.threadsChanged = threadsChanged
    }

    /// The native threads alive.
    var threads: Int { state.withLock { $0.threads } }

    /// Takes a thread.
    func lease() throws(EngineError) -> EventLoop {
        enum Place {
            case idle(EventLoop)
            case new
            case full
        }
        let place: Place = state.withLock { state in
            guard state.leased < configuration.limit else { return .full }
            state.leased += 1
            if let loop = state.idle.popLast() { return .idle(loop) }
            return .new
        }
        switch place {
        case .idle(let loop): return loop
        case .full: throw .threadLimitReached(limit: configuration.limit)
        case .new: break
        }
        do {
            return try makeLoop()
        } catch {
            state.withLock { $0.leased -= 1 }
            throw error
        }
    }

    private func makeLoop() throws(EngineError) -> EventLoop {
        let loop: EventLoop
        do {
            loop = try EventLoop(name: configuration.name) { [self] loop in
                // Something outlived its lease, or the thread ended just as it was leased.
                entered()
                loop.startThread(
                    name: configuration.name, keepAlive: configuration.keepAlive,
                    stackSize: configuration.stackSize, whenDone: { [self] in left(loop) })
            }
        } catch {
            throw .eventLoopUnavailable(error)
        }
        entered()
        do {
            try loop.attachThread(
                name: configuration.name, keepAlive: configuration.keepAlive,
                stackSize: configuration.stackSize, whenDone: { [self] in left(loop) })
        } catch {
            left(loop)
            throw .threadUnavailable(error)
        }
        return loop
    }

    /// Gives a thread back.
    func release(_ loop: EventLoop) {
        let isKept = state.withLock { state in
            state.leased -= 1
            guard !state.isClosed, state.idle.count < configuration.idleLimit else { return false }
            state.idle.append(loop)
            return true
        }
        if !isKept { loop.stop() }
    }

    /// Ends the threads that nobody leases, and each of the others when it is given back.
    func close() {
        let idle = state.withLock { state in
            state.isClosed = true
            defer { state.idle = [] }
            return state.idle
        }
        for loop in idle { loop.stop() }
    }

    private func entered() {
        threadsChanged(
            state.withLock { state in
                state.threads += 1
                return state.threads
            })
    }

    private func left(_ loop: EventLoop) {
        threadsChanged(
            state.withLock { state in
                state.threads -= 1
                state.idle.removeAll { $0 === loop }
                return state.threads
            })
    }
}
