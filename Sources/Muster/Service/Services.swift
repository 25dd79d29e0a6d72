// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterExecution
import MusterLock
import MusterMetrics
public import MusterPlatform

/// Services that start in the order in which they were added and stop in the reverse order.
public final class Services: Sendable, BackendComponent {
    private enum Phase {
        case idle
        case started
        case stopped
    }

    private struct Entry {
        let id: UInt64
        let service: any ServiceBase
        /// Whether its start has begun, and its stop has not.
        var isStarted = false
    }

    private struct State {
        var entries: [Entry] = []
        var lastID: UInt64 = 0
        var phase = Phase.idle
        /// The number of stops in progress, during which no further service starts.
        var stops = 0
        var isClosed = false
        /// The service whose `start()` is being called.
        var starting: String?
        var onEnd: (@Sendable (_ service: String, ServiceEnd) -> Void)?

        var mayStart: Bool { phase == .started && stops == 0 && !isClosed }
    }

    private let backend: Backend
    private let state = Locked(State())
    /// Starting, stopping and restarting take turns.
    private let turns = Turns()

    /// Creates an empty list of services.
    public init(backend: Backend? = nil) throws {
        self.backend = try backend ?? Backend.current
    }

    /// The services, in the order in which they start.
    package var all: [any ServiceBase] { state.withLock { $0.entries.map(\.service) } }

    /// The name of the service whose `start()` has not returned.
    var starting: String? { state.withLock { $0.starting } }

    private var clock: any RuntimeClock { backend.engine.clock }

    // MARK: Starting

    /// Adds a service; starts it at once if the others have started.
    ///
    /// - Throws: `ServicesError`. A service that is started at once and fails is stopped and removed again.
    ///   `CancellationError` when the calling task is cancelled before its turn.
    public func add(_ service: any ServiceBase) async throws {
        let id = try register(service)
        guard state.withLock({ $0.phase == .started }) else { return }
        let turn: Turns.Turn?
        do {
            turn = try await turns.take(clock: clock)
        } catch {
            state.withLock { state in state.entries.removeAll { $0.id == id && !$0.isStarted } }
            throw error
        }
        defer { turn?.end() }
        // The start that was under way may have started it, or have failed.
        let (isStarted, isMine) = state.withLock { state in
            guard let index = state.entries.firstIndex(where: { $0.id == id }) else { return (false, false) }
            if state.entries[index].isStarted { return (true, false) }
            guard state.mayStart else { return (false, false) }
            state.entries[index].isStarted = true
            return (true, true)
        }
        guard isStarted else { throw ServicesError.stopped(service: service.name) }
        guard isMine else { return }
        try await Turns.$current.withValue(turn ?? Turns.current) {
            do {
                try await begin(service)
            } catch {
                state.withLock { state in state.entries.removeAll { $0.id == id } }
                await end(service, graceful: false, until: nil)
                throw ServicesError.startFailed(service: service.name, error)
            }
            try await endIfStopped(id, service)
        }
    }

    /// Adds a service that starts with the others.
    @discardableResult
    func register(_ service: any ServiceBase) throws(ServicesError) -> UInt64 {
        let id: UInt64? = state.withLock { state in
            if state.phase == .stopped || state.isClosed { return nil }
            state.lastID += 1
            state.entries.append(Entry(id: state.lastID, service: service))
            return state.lastID
        }
        guard let id else { throw .stopped(service: service.name) }
        service.whenEnded { [weak self] end in
            guard let self else { return }
            state.withLock { $0.onEnd }?(service.name, end)
        }
        return id
    }

    /// Sets what to call for each service that ends without being stopped.
    func whenEnded(_ action: @escaping @Sendable (_ service: String, ServiceEnd) -> Void) {
        state.withLock { $0.onEnd = action }
    }

    /// Starts the services one after the other.
    ///
    /// - Throws: `ServicesError`; when a service fails to start, it and those before it are stopped first.
    ///   `CancellationError` when the calling task is cancelled before its turn.
    public func start() async throws {
        try await start(stopsAfterFailure: true)
    }

    /// As ``start()``; after a failure, stopping may be left to the caller.
    func start(stopsAfterFailure: Bool) async throws {
        let turn = try await turns.take(clock: clock)
        defer { turn?.end() }
        let isFirst = state.withLock { state in
            guard state.phase != .started else { return false }
            state.phase = .started
            return true
        }
        guard isFirst else { throw ServicesError.alreadyStarted }
        try await Turns.$current.withValue(turn ?? Turns.current) {
            try await startAll(stopsAfterFailure: stopsAfterFailure)
        }
    }

    private func startAll(stopsAfterFailure: Bool) async throws {
        while let (id, service) = takeNext() {
            do {
                try await begin(service)
            } catch {
                if stopsAfterFailure {
                    // Also stops what it had begun before it failed.
                    await stopAll(graceful: false, until: nil)
                    state.withLock { $0.phase = .stopped }
                }
                throw ServicesError.startFailed(service: service.name, error)
            }
            try await endIfStopped(id, service)
        }
        guard state.withLock({ $0.mayStart }) else { throw ServicesError.stoppedWhileStarting }
    }

    private func takeNext() -> (id: UInt64, service: any ServiceBase)? {
        state.withLock { state in
            guard state.mayStart, let index = state.entries.firstIndex(where: { !$0.isStarted }) else { return nil }
            state.entries[index].isStarted = true
            return (state.entries[index].id, state.entries[index].service)
        }
    }

    private func begin(_ service: any ServiceBase) async throws {
        backend.logger.debug("starting service", metadata: ["service": "\(service.name)"])
        state.withLock { $0.starting = service.name }
        defer { state.withLock { $0.starting = nil } }
        do {
            try await service.start()
        } catch {
            backend.logger.error(
                "service failed to start", metadata: ["service": "\(service.name)", "error": "\(error)"])
            throw error
        }
    }

    /// Stops a service again that was stopped during its start, by a caller that could not wait for it.
    private func endIfStopped(_ id: UInt64, _ service: any ServiceBase) async throws {
        if state.withLock({ state in state.entries.contains { $0.id == id && $0.isStarted } }) { return }
        await end(service, graceful: false, until: nil)
        throw ServicesError.stoppedWhileStarting
    }

    // MARK: Stopping

    /// Stops the services one after the other, the last started first. Errors are logged. Stopping again changes
    /// nothing.
    ///
    /// A start in progress starts no further service and is awaited, until the deadline.
    public func stop(graceful: Bool, until deadline: MonotonicInstant?) async {
        await stop(graceful: graceful, until: deadline, startsUntil: deadline)
    }

    /// As ``stop(graceful:until:)``, with an earlier deadline for a start in progress.
    func stop(graceful: Bool, until deadline: MonotonicInstant?, startsUntil: MonotonicInstant?) async {
        state.withLock { $0.stops += 1 }
        // At the deadline, stop without a turn.
        let turn = (try? await turns.take(until: startsUntil, clock: clock)) ?? nil
        defer { turn?.end() }
        await Turns.$current.withValue(turn ?? Turns.current) { await stopAll(graceful: graceful, until: deadline) }
        state.withLock { state in
            state.stops -= 1
            state.phase = .stopped
        }
    }

    /// Refuses further services and starts.
    func refuseStarts() {
        state.withLock { $0.isClosed = true }
    }

    private func stopAll(graceful: Bool, until deadline: MonotonicInstant?) async {
        while let service = takeLastStarted() { await end(service, graceful: graceful, until: deadline) }
    }

    private func takeLastStarted() -> (any ServiceBase)? {
        state.withLock { state in
            guard let index = state.entries.lastIndex(where: \.isStarted) else { return nil }
            state.entries[index].isStarted = false
            return state.entries[index].service
        }
    }

    private func end(_ service: any ServiceBase, graceful: Bool, until deadline: MonotonicInstant?) async {
        backend.logger.debug("stopping service", metadata: ["service": "\(service.name)"])
        do {
            try await service.stop(graceful: graceful, until: deadline)
            let left = service.threadGroup.members.filter { $0.id != Job.current?.id }
            if !left.isEmpty {
                backend.logger.warning(
                    "service stopped without its thread group",
                    metadata: [
                        "service": "\(service.name)", "jobs": "\(left.map(\.name).joined(separator: ", "))",
                        "remedy": "call threadGroup.stop(graceful:until:) in stop(graceful:until:)",
                    ])
            }
        } catch {
            backend.logger.error(
                "service failed to stop", metadata: ["service": "\(service.name)", "error": "\(error)"])
        }
    }

    // MARK: While they run

    /// Waits until every service has ended.
    ///
    /// - Throws: The first error of a service; `ServicesError` when they were never started; `CancellationError` when
    ///   the calling task is cancelled.
    public func wait() async throws {
        if let first = state.withLock({ $0.phase == .idle ? $0.entries.first : nil }) {
            throw ServicesError.notStarted(service: first.service.name)
        }
        for service in all { try await service.wait() }
    }

    /// Restarts the services, or lets them take up new settings.
    ///
    /// - Parameters:
    ///   - method: Which of the two.
    ///   - deadline: The latest end of stopping; `nil` for none.
    /// - Throws: `ServicesError` when a service does not start again, or the services are stopped meanwhile;
    ///   `CancellationError` when the calling task is cancelled before its turn.
    public func restart(_ method: RestartMethod, until deadline: MonotonicInstant? = nil) async throws {
        _ = try await restartAll(method) { await $0(deadline) }
    }

    /// Calls what stops all services until a deadline.
    typealias StopForRestart = @Sendable (_ stop: @escaping @Sendable (MonotonicInstant?) async -> Void) async -> Void

    /// As ``restart(_:until:)``; returns whether every service took up its settings.
    func restartAll(
        _ method: RestartMethod, stopsAfterFailure: Bool = true, stop: StopForRestart
    ) async throws -> Bool {
        let turn = try await turns.take(clock: clock)
        defer { turn?.end() }
        return try await Turns.$current.withValue(turn ?? Turns.current) {
            if method == .reload { await stop { [self] in await stopAll(graceful: true, until: $0) } }
            var haveReset = true
            for service in all {
                do {
                    try await service.reset()
                } catch {
                    haveReset = false
                    backend.logger.error(
                        "service failed to reset", metadata: ["service": "\(service.name)", "error": "\(error)"])
                }
            }
            guard method == .reload else { return haveReset }
            state.withLock { $0.phase = .started }
            try await startAll(stopsAfterFailure: stopsAfterFailure)
            return haveReset
        }
    }
}

/// Why services could not be run.
package enum ServicesError: Error, Sendable, CustomStringConvertible {
    /// A service's `start()` threw. It has been stopped; when all were starting, so have those before it.
    case startFailed(service: String, any Error)
    /// A service that had started could not go on.
    case failed(service: String, any Error)
    /// Services were awaited without having been started.
    case notStarted(service: String)
    /// Services were started twice.
    case alreadyStarted
    /// The services were stopped before all of them had started.
    case stoppedWhileStarting
    /// A service was added after the others had been stopped.
    case stopped(service: String)
    /// More than one worker was asked for in a launcher that runs services in its own process.
    case workersNotSupported(service: String, workers: Int)

    package var description: String {
        switch self {
        case .startFailed(let service, let error):
            "service '\(service)' failed to start: \(error)"
        case .failed(let service, let error):
            "service '\(service)' failed: \(error)"
        case .notStarted(let service):
            "service '\(service)' was never started: call start() before wait()"
        case .alreadyStarted:
            "the services are already started"
        case .stoppedWhileStarting:
            "the services were stopped before all of them had started"
        case .stopped(let service):
            "service '\(service)' was added after the services had stopped: add it earlier, or start them again"
        case .workersNotSupported(let service, let workers):
            """
            service '\(service)' cannot have \(workers) workers: this launcher runs services in its own \
            process, so the number must be 1; use ProcessLauncher for more
            """
        }
    }
}

/// How a service ended without being stopped.
public enum ServiceEnd: Sendable {
    /// Its work is done.
    case finished
    /// It failed.
    case failed(any Error)
}

/// A mutex for asynchronous operations, first come, first served.
///
/// An operation inside another one does not wait: it would wait for itself.
final class Turns: Sendable {
    /// One turn, until ``end()``.
    final class Turn: Sendable {
        fileprivate let turns: Turns
        fileprivate let outer: Turn?
        private let isOver = Locked(false)

        fileprivate init(of turns: Turns, inside outer: Turn?) {
            self.turns = turns
            self.outer = outer
        }

        /// Passes the turn on.
        func end() {
            let isFirst = isOver.withLock { isOver in
                defer { isOver = true }
                return !isOver
            }
            if isFirst { turns.pass() }
        }

        fileprivate var isUnderWay: Bool { isOver.withLock { !$0 } }
    }

    private struct State {
        var isTaken = false
        var waiting: [Completion<Void>] = []
    }

    /// The turn in which the calling task runs. Child tasks inherit it, so it may be over.
    @TaskLocal static var current: Turn?

    private let state = Locked(State())

    /// Waits for a turn.
    ///
    /// - Returns: The turn, which must be ended; `nil` when the caller is in one already.
    /// - Throws: `TimeLimitExceeded` at the deadline; `CancellationError` when the calling task is cancelled.
    func take(until deadline: MonotonicInstant? = nil, clock: any RuntimeClock) async throws -> Turn? {
        if isHeldByCaller { return nil }
        let mine = Completion<Void>()
        let isFree = state.withLock { state in
            guard state.isTaken else {
                state.isTaken = true
                return true
            }
            state.waiting.append(mine)
            return false
        }
        if !isFree {
            do {
                try await mine.wait(until: deadline, clock: clock, operation: "what is under way")
            } catch {
                let isHad = state.withLock { state in
                    state.waiting.removeAll { $0 === mine }
                    return mine.value != nil
                }
                if isHad { pass() }
                throw error
            }
        }
        return Turn(of: self, inside: Self.current)
    }

    private var isHeldByCaller: Bool {
        var turn = Self.current
        while let candidate = turn {
            if candidate.turns === self, candidate.isUnderWay { return true }
            turn = candidate.outer
        }
        return false
    }

    private func pass() {
        let next: Completion<Void>? = state.withLock { state in
            guard state.waiting.isEmpty else { return state.waiting.removeFirst() }
            state.isTaken = false
            return nil
        }
        next?.complete(with: ())
    }
}
